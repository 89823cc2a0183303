"""Certificates that an authority should never have signed, or did not."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from securerelay.crypto import primitives
from securerelay.identity import certificates
from tests.keys import NOW, authority, rsa_key

DAY = datetime.timedelta(days=1)
PSS_SHA384 = bytes.fromhex(
    "304106092a864886f70d01010a3034a00f300d06096086480165030402020500"
    "a11c301a06092a864886f70d010108300d06096086480165030402020500a203020130"
)


def common_names(*values: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, value, _validate=False) for value in values]
    )


def usage(**changes: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        **{
            "digital_signature": True,
            "content_commitment": False,
            "key_encipherment": False,
            "data_encipherment": False,
            "key_agreement": False,
            "key_cert_sign": False,
            "crl_sign": False,
            "encipher_only": False,
            "decipher_only": False,
            **changes,
        }
    )


def uris(*values: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(v) for v in values])


def extensions(role: str = "peer", name: str = "alice") -> dict[str, tuple[Any, bool]]:
    return {
        "constraints": (x509.BasicConstraints(ca=False, path_length=None), True),
        "usage": (usage(), True),
        "purpose": (x509.ExtendedKeyUsage([certificates.PURPOSES[role]]), True),
        "alternative": (uris(f"securerelay:{role}/{name}"), False),
    }


def forge(
    *,
    role: str = "peer",
    subject: x509.Name | None = None,
    issuer: x509.Name | None = None,
    key: Any = None,
    signer: rsa.RSAPrivateKey | None = None,
    rsa_padding: Any = primitives.PSS,
    algorithm: Any = None,
    begin: datetime.datetime = NOW,
    days: float = 30,
    drop: Sequence[str] = (),
    more: Sequence[tuple[x509.ExtensionType, bool]] = (),
    **changed: tuple[Any, bool],
) -> bytes:
    """Sign whatever is asked for; without arguments a peer's certificate without fault."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(common_names("alice") if subject is None else subject)
        .issuer_name(issuer or certificates.authority_name(authority().relay_id))
        .public_key(key or rsa_key().public_key())
        .serial_number(77)
        .not_valid_before(begin)
        .not_valid_after(begin + days * DAY)
    )
    chosen = {**extensions(role), **changed}
    for extension, critical in [*(chosen[k] for k in chosen if k not in drop), *more]:
        builder = builder.add_extension(extension, critical=critical)
    signed = builder.sign(
        signer or authority().key,
        hashes.SHA384() if algorithm is None else algorithm,
        rsa_padding=rsa_padding,
    )
    return signed.public_bytes(serialization.Encoding.DER)


def tlv(tag: int, content: bytes) -> bytes:
    """Encode one element in DER."""
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = (length.bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + length.to_bytes(size, "big") + content


def parts(content: bytes) -> list[tuple[int, bytes]]:
    """Split the content of a DER element into tags and contents."""
    found = []
    while content:
        tag, length, at = content[0], content[1], 2
        if length & 0x80:
            at += length & 0x7F
            length = int.from_bytes(content[2:at], "big")
        found.append((tag, content[at : at + length]))
        content = content[at + length :]
    return found


def tbs_of(der: bytes) -> bytes:
    return x509.load_der_x509_certificate(der).tbs_certificate_bytes


def sign_again(
    tbs: bytes, algorithm: bytes = PSS_SHA384, rsa_padding: Any = primitives.PSS
) -> bytes:
    """Sign any bytes as a certificate."""
    signature = authority().key.sign(tbs, rsa_padding, hashes.SHA384())
    return tlv(0x30, tbs + algorithm + tlv(3, b"\0" + signature))


def version_1() -> bytes:
    """A certificate of X.509 version 1, which has no extensions."""
    fields = parts(parts(tbs_of(forge()))[0][1])
    return sign_again(
        tlv(0x30, b"".join(tlv(*one) for one in fields if one[0] not in (0xA0, 0xA3)))
    )


def same_extension_twice() -> bytes:
    extra = [
        (x509.UnrecognizedExtension(x509.ObjectIdentifier(f"1.2.3.{n}"), b"\x05\0"), False)
        for n in (4, 5)
    ]
    return sign_again(
        tbs_of(forge(more=extra)).replace(b"\x06\x03\x2a\x03\x05", b"\x06\x03\x2a\x03\x04")
    )


def weak_exponent() -> rsa.RSAPublicKey:
    return rsa.RSAPublicNumbers(3, rsa_key().public_key().public_numbers().n).public_key()


def odd_pss(algorithm: hashes.HashAlgorithm, salt: int) -> dict[str, Any]:
    return {"algorithm": algorithm, "rsa_padding": padding.PSS(padding.MGF1(algorithm), salt)}
