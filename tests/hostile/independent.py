"""SR1 written a second time, from the protocol text alone, to check the real one against.

Nothing here comes from the ``securerelay`` package: a mistake would have to be made twice to stay
unseen. Both roles are here, without input or output where possible, and a blocking `Client` that
can talk to a real daemon. Every secret is kept in a plain ``secrets`` dictionary so that tests can
compare them, and ephemeral keys, nonces, ticket ids and signatures can be injected. So this is a
measuring instrument and no example: it erases nothing, has no deadlines and enforces no rates.

The file is longer than 400 lines so that it can be read from top to bottom next to the protocol
text and be handed to others as one file. Its sections: primitives, key exchange, certificates,
invitations, key schedule, records, session messages, client handshake, relay, blocking client.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import datetime
import hashlib
import hmac
import json
import os
import re
import socket
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, mlkem, padding, rsa, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.x509.oid import ExtensionOID, NameOID, ObjectIdentifier

SUITES = ("aes256gcm", "chacha20poly1305")
GROUPS = ("x25519mlkem768", "x25519", "ffdhe3072", "rsa3072-oaep")
LINE = 4128  # longest handshake line in bytes, LF included
FULL, SHORT = 3072, 256  # bytes of AUTH plaintext, full handshake and resumed

RELAY_VERIFY = b"securerelay/1 relay certificate verify"
PEER_VERIFY = b"securerelay/1 peer certificate verify"
RELAY_REKEY = b"securerelay/1 relay rekey"
PEER_REKEY = b"securerelay/1 peer rekey"
POSSESSION = b"securerelay/1 enrol possession"
INVITATION = b"securerelay/1 enrol invitation"

Secrets = dict[str, bytes]
Items = list[tuple[int, bytes]]
Signer = Callable[[bytes, bytes], bytes]
"""``sign(context, transcript hash)`` gives the signature; a test may play a recorded one back."""


class Wrong(Exception):
    """The other side did something that SR1 forbids.

    Args:
        code: the code of the error table that fits, or ``"record"`` for one that does not open.
        detail: what it was, for people.
    """

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.detail = code, detail


class Told(Exception):
    """The other side ended it and told us, or simply went away.

    Args:
        how: ``"err"``, ``"alert"``, ``"close"`` or ``"end"`` (TCP ended without a word).
        code: the code or reason it gave; empty for ``"end"``.
    """

    def __init__(self, how: str, code: str = "") -> None:
        super().__init__(f"{how} {code}")
        self.how, self.code = how, code


# --- Primitives and encoding: sections 2 and 3 -------------------------------------------------


def sha384(data: bytes) -> bytes:
    return hashlib.sha384(data).digest()


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha384")


extract = mac  # HKDF-Extract(salt, input) is HMAC(salt, input)


def expand(secret: bytes, info: bytes, size: int) -> bytes:
    """HKDF-Expand of at most one block, which is all SR1 asks for (RFC 5869 section 2.3)."""
    if size > 48:
        raise ValueError("more than one block")
    return mac(secret, info + b"\x01")[:size]


def label(secret: bytes, name: str, context: bytes, size: int) -> bytes:
    """Label(secret, name, context, size) of the key schedule."""
    full = b"sr1 " + name.encode()
    info = u16(size) + bytes([len(full)]) + full + bytes([len(context)]) + context
    return expand(secret, info, size)


def finished(secret: bytes, digest: bytes) -> bytes:
    """SFIN, CFIN and the binder: a MAC under the secret's own "finished" key."""
    return mac(label(secret, "finished", b"", 48), digest)


def u16(number: int) -> bytes:
    return number.to_bytes(2, "big")


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: bytes, code: str = "bad-line") -> bytes:
    """Canonical base64url without padding, or Wrong(code)."""
    try:
        data = base64.b64decode(text + b"=" * (-len(text) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise Wrong(code, "base64") from None
    if b64(data).encode() != text:
        raise Wrong(code, "base64 that is not canonical")
    return data


def item(kind: int, value: bytes) -> bytes:
    return bytes([kind]) + len(value).to_bytes(4, "big") + value


def transcript(items: Items) -> bytes:
    """T(...): the hash of these items."""
    return sha384(b"securerelay/1 transcript\0" + b"".join(item(*one) for one in items))


def auth_plaintext(items: Items, size: int) -> bytes:
    """The items of an AUTH line, zeros after them."""
    joined = b"".join(item(*one) for one in items)
    if len(joined) >= size:
        raise ValueError("items do not fit into AUTH")
    return joined.ljust(size, b"\0")


def auth_items(plain: bytes, size: int, kinds: Sequence[int]) -> list[bytes]:
    """The values of the items of an AUTH plaintext, which must be exactly these kinds."""
    values, at = [], 0
    if len(plain) != size:
        raise Wrong("auth-failed", "size of AUTH")
    for kind in kinds:
        length = int.from_bytes(plain[at + 1 : at + 5], "big")
        if plain[at : at + 1] != bytes([kind]) or at + 5 + length > size:
            raise Wrong("auth-failed", f"item {kind:02x}")
        values.append(plain[at + 5 : at + 5 + length])
        at += 5 + length
    if at >= size or any(plain[at:]):
        raise Wrong("auth-failed", "padding")
    return values


PSS = padding.PSS(padding.MGF1(hashes.SHA384()), 48)


def framed(context: bytes, digest: bytes) -> bytes:
    """What every signature covers."""
    return b" " * 64 + context + b"\0" + digest


def signer(key: rsa.RSAPrivateKey) -> Signer:
    return lambda context, digest: key.sign(framed(context, digest), PSS, hashes.SHA384())


def verify(spki: bytes, context: bytes, digest: bytes, signature: bytes, code: str) -> None:
    """Check SIG or raise Wrong(code)."""
    try:
        load_rsa(spki).verify(signature, framed(context, digest), PSS, hashes.SHA384())
    except InvalidSignature:
        raise Wrong(code, "signature " + context.decode()) from None


def spki_of(key: rsa.RSAPublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def load_rsa(der: bytes, bits: tuple[int, int] = (2048, 4096)) -> rsa.RSAPublicKey:
    """An RSA key from its canonical SubjectPublicKeyInfo; modulus in `bits`, e = 65537."""
    try:
        key = serialization.load_der_public_key(der)
    except Exception as error:
        raise Wrong("auth-failed", f"public key: {type(error).__name__}") from None
    if not isinstance(key, rsa.RSAPublicKey) or spki_of(key) != der:
        raise Wrong("auth-failed", "not an RSA key in DER")
    if not bits[0] <= key.key_size <= bits[1] or key.public_numbers().e != 65537:
        raise Wrong("auth-failed", "size or exponent of an RSA key")
    return key


AEADS: dict[str, type[AESGCM] | type[ChaCha20Poly1305]] = {
    "aes256gcm": AESGCM,
    "chacha20poly1305": ChaCha20Poly1305,
}


# --- Key exchange: the table of groups in section 3 ---------------------------------------------

FFDHE3072_P = int(  # RFC 7919 appendix A.2; the generator is 2
    "FFFFFFFFFFFFFFFFADF85458A2BB4A9AAFDC5620273D3CF1D8B9C583CE2D3695"
    "A9E13641146433FBCC939DCE249B3EF97D2FE363630C75D8F681B202AEC4617A"
    "D3DF1ED5D5FD65612433F51F5F066ED0856365553DED1AF3B557135E7F57C935"
    "984F0C70E0E68B77E2A689DAF3EFE8721DF158A136ADE73530ACCA4F483A797A"
    "BC0AB182B324FB61D108A94BB2C8E3FBB96ADAB760D7F4681D4F42A3DE394DF4"
    "AE56EDE76372BB190B07A7C8EE0A6D709E02FCE1CDF7E2ECC03404CD28342F61"
    "9172FE9CE98583FF8E4F1232EEF28183C3FE3B1B4C6FAD733BB5FCBC2EC22005"
    "C58EF1837D1683B2C6F34A26C1B2EFFA886B4238611FCFDCDE355B3B6519035B"
    "BC34F4DEF99C023861B46FC9D6E6C9077AD91D2691F7F7EE598CB0FAC186D91C"
    "AEFE130985139270B4130C93BC437944F4FD4452E2D74DD364F2E21E71F54BFF"
    "5CAE82AB9C9DF69EE86D2BC522363A0DABC521979B0DEADA1DBF9A42D5C4484E"
    "0ABCD06BFA53DDEF3C1B20EE3FD59D7C25E41D2B66C62E37FFFFFFFFFFFFFFFF",
    16,
)
OAEP = padding.OAEP(padding.MGF1(hashes.SHA384()), hashes.SHA384(), b"sr1 rsa-oaep kex")


def _x25519_share(private: x25519.X25519PrivateKey) -> bytes:
    return private.public_key().public_bytes_raw()


def _x25519(private: x25519.X25519PrivateKey, share: bytes) -> bytes:
    if len(share) != 32:
        raise Wrong("bad-share", "length")
    try:
        return private.exchange(x25519.X25519PublicKey.from_public_bytes(share))
    except ValueError:  # the shared secret would be all zero
        raise Wrong("bad-share", "low order") from None


def _dh() -> Any:
    with warnings.catch_warnings():  # deprecated in the library, so imported only here
        warnings.simplefilter("ignore")
        from cryptography.hazmat.primitives.asymmetric import dh
    return dh


def _ffdhe(private: Any, share: bytes) -> bytes:
    y = int.from_bytes(share, "big")
    if len(share) != 384 or not 2 <= y <= FFDHE3072_P - 2:
        raise Wrong("bad-share", "range")
    dh = _dh()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        numbers = dh.DHPublicNumbers(y, dh.DHParameterNumbers(FFDHE3072_P, 2))
        shared: bytes = private.exchange(numbers.public_key())
    return shared.rjust(384, b"\0")


def _ffdhe_key() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _dh().DHParameterNumbers(FFDHE3072_P, 2).parameters().generate_private_key()


def _ffdhe_share(private: Any) -> bytes:
    y: int = private.public_key().public_numbers().y
    return y.to_bytes(384, "big")


class Ephemeral:
    """The client's half of one key exchange.

    Args:
        group: its name.
        private: for vectors. x25519: 32 bytes or the key. x25519mlkem768: 64 bytes of ML-KEM seed
            and 32 of X25519. ffdhe3072 and rsa3072-oaep: the private key object.
    """

    def __init__(self, group: str, private: Any = None) -> None:
        self.group = group
        self._kem: mlkem.MLKEM768PrivateKey | None = None
        if group == "x25519mlkem768":
            seed = private or os.urandom(96)
            self._kem = mlkem.MLKEM768PrivateKey.from_seed_bytes(seed[:64])
            private = seed[64:]
        if group in ("x25519", "x25519mlkem768"):
            if not isinstance(private, x25519.X25519PrivateKey):
                private = x25519.X25519PrivateKey.from_private_bytes(private or os.urandom(32))
            ek = self._kem.public_key().public_bytes_raw() if self._kem else b""
            self.share = ek + _x25519_share(private)
        elif group == "ffdhe3072":
            private = private or _ffdhe_key()
            self.share = _ffdhe_share(private)
        elif group == "rsa3072-oaep":
            private = private or rsa.generate_private_key(65537, 3072)
            self.share = spki_of(private.public_key())
        else:
            raise ValueError(group)
        self._private = private

    def finish(self, share: bytes) -> bytes:
        """Z from the relay's share; Wrong("bad-share") if that is none."""
        if share == self.share:
            raise Wrong("bad-share", "our own share came back")
        if self._kem is not None:
            if len(share) != 1120:
                raise Wrong("bad-share", "length")
            return self._kem.decapsulate(share[:1088]) + _x25519(self._private, share[1088:])
        if self.group == "x25519":
            return _x25519(self._private, share)
        if self.group == "ffdhe3072":
            return _ffdhe(self._private, share)
        try:
            z: bytes = self._private.decrypt(share, OAEP)
        except ValueError:
            raise Wrong("bad-share", "OAEP") from None
        if len(z) != 48:
            raise Wrong("bad-share", "length of the secret")
        return z


def answer_share(group: str, share: bytes, private: Any = None) -> tuple[bytes, bytes]:
    """The relay's half: its share and Z from the client's share.

    Args:
        group: its name.
        share: what the client sent.
        private: for vectors: 32 bytes (x25519), a private key (ffdhe3072), or, since encapsulation
            and OAEP take no randomness from outside, a finished pair (share, Z) for any group.
    """
    if isinstance(private, tuple):
        return private
    if group == "x25519mlkem768":
        if len(share) != 1216:
            raise Wrong("bad-share", "length")
        try:
            ss, ct = mlkem.MLKEM768PublicKey.from_public_bytes(share[:1184]).encapsulate()
        except ValueError:
            raise Wrong("bad-share", "encapsulation key") from None
        key = x25519.X25519PrivateKey.generate()
        return ct + _x25519_share(key), ss + _x25519(key, share[1184:])
    if group == "x25519":
        key = x25519.X25519PrivateKey.from_private_bytes(private or os.urandom(32))
        return _x25519_share(key), _x25519(key, share)
    if group == "ffdhe3072":
        private = private or _ffdhe_key()
        return _ffdhe_share(private), _ffdhe(private, share)
    try:
        public = load_rsa(share, (3072, 3072))
    except Wrong as error:
        raise Wrong("bad-share", error.detail) from None
    z = os.urandom(48)
    try:
        return public.encrypt(z, OAEP), z
    except ValueError:  # an even modulus
        raise Wrong("bad-share", "modulus") from None


# --- Certificates: section 3 --------------------------------------------------------------------

PEER = r"[a-z0-9](?:[a-z0-9._-]{0,30}[a-z0-9])?"
USAGE = {
    "relay": ObjectIdentifier("2.25.39189654266415929131594498639589236463"),
    "peer": ObjectIdentifier("2.25.279465989848633987968167894175637089627"),
}
DAYS = {"relay": 90, "peer": 30}
_KNOWN = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    ExtensionOID.SUBJECT_KEY_IDENTIFIER,
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
}


def is_peer(name: str) -> bool:
    return re.fullmatch(PEER, name) is not None


def _utc(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(int(seconds), datetime.timezone.utc)


def _common_names(names: Iterable[str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])


def _key_usage(signature: bool, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(signature, False, False, False, False, authority, authority, False, False)


class Authority:
    """A certificate authority.

    Args:
        key: its RSA key; SR1 says 4096 bits, tests may save time with fewer.
    """

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self.key = key
        self.spki = spki_of(key.public_key())
        self.relay_id = sha256(self.spki)
        self.name = f"securerelay-{self.relay_id.hex()[:16]}"

    def certificate(self, start: float, days: int = 3650) -> bytes:
        """Its own self-signed certificate, DER. It never travels in SR1."""
        public = self.key.public_key()
        basic = x509.BasicConstraints(ca=True, path_length=0)
        extensions = [(basic, True), (_key_usage(False, True), True)]
        return self._sign(public, [self.name], start, days, extensions)

    def issue(
        self,
        role: str,
        name: str,
        public: rsa.RSAPublicKey,
        start: float | None = None,
        days: int = 30,
        *,
        names: Sequence[str] | None = None,
        uris: Sequence[str] | None = None,
        usages: Sequence[ObjectIdentifier] | None = None,
        is_ca: bool = False,
        extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
    ) -> bytes:
        """A leaf certificate, DER; the keywords make faulty ones.

        Args:
            role: ``"relay"`` or ``"peer"``.
            name: the holder.
            public: the holder's key.
            start: first second of validity; an hour ago if None.
            days: length of validity.
            names: common names instead of `name`.
            uris: URI SANs instead of the right one.
            usages: extended key usages instead of the role's.
            is_ca: BasicConstraints CA.
            extra: further extensions with their criticality.
        """
        uris = [f"securerelay:{role}/{name}"] if uris is None else uris
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(ca=is_ca, path_length=None), True),
            (_key_usage(True, False), True),
            (x509.ExtendedKeyUsage([USAGE[role]] if usages is None else usages), True),
            (
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(u) for u in uris]),
                False,
            ),
            *extra,
        ]
        start = time.time() - 3600 if start is None else start
        return self._sign(public, [name] if names is None else names, start, days, extensions)

    def _sign(
        self,
        public: rsa.RSAPublicKey,
        names: Sequence[str],
        start: float,
        days: int,
        extensions: Sequence[tuple[x509.ExtensionType, bool]],
    ) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(_common_names(names))
            .issuer_name(_common_names([self.name]))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(_utc(start))
            .not_valid_after(_utc(start + days * 86400))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        certificate = builder.sign(self.key, hashes.SHA384(), rsa_padding=PSS)
        return certificate.public_bytes(serialization.Encoding.DER)


@dataclass(frozen=True)
class Identity:
    """What a checked certificate says. Times in Unix seconds."""

    name: str
    spki: bytes
    not_before: float
    not_after: float

    def current(self, now: float) -> bool:
        return self.not_before <= now <= self.not_after


def check_certificate(der: bytes, ca_spki: bytes, role: str) -> Identity:
    """Everything about a leaf certificate but its dates and the name one expects.

    Raises:
        Wrong: always ``auth-failed``.
    """

    def need(fact: bool, what: str) -> None:
        if not fact:
            raise Wrong("auth-failed", f"certificate: {what}")

    need(len(der) <= 2048, "size")
    try:
        certificate = x509.load_der_x509_certificate(der)
        need(certificate.signature_algorithm_oid.dotted_string == "1.2.840.113549.1.1.10", "PSS")
        load_rsa(ca_spki).verify(
            certificate.signature, certificate.tbs_certificate_bytes, PSS, hashes.SHA384()
        )
        need(certificate.version == x509.Version.v3, "version")
        need(certificate.public_bytes(serialization.Encoding.DER) == der, "encoding")
        public = certificate.public_key()
        extensions = {one.oid: one for one in certificate.extensions}
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except InvalidSignature:
        raise Wrong("auth-failed", "certificate: signature") from None
    except (ValueError, TypeError, x509.DuplicateExtension) as error:
        raise Wrong("auth-failed", f"certificate: {type(error).__name__}") from None

    for one in extensions.values():
        need(not one.critical or one.oid in _KNOWN, "unknown critical extension")
    need(_KNOWN - {_SKI, _AKI} <= set(extensions), "extension missing")
    need(all(extensions[oid].critical for oid in _CRITICAL), "extension not critical")
    basic, usage, purposes, alternative = (
        extensions[oid].value for oid in (*_CRITICAL, ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    )
    need(isinstance(basic, x509.BasicConstraints) and not basic.ca, "CA")
    need(usage == _key_usage(True, False), "key usage")
    need(
        isinstance(purposes, x509.ExtendedKeyUsage) and list(purposes) == [USAGE[role]],
        "extended key usage",
    )
    need(len(names) == 1, "common names")
    name = names[0].value
    if not isinstance(name, str) or not is_peer(name):
        raise Wrong("auth-failed", "certificate: name")
    want = x509.UniformResourceIdentifier(f"securerelay:{role}/{name}")
    need(
        isinstance(alternative, x509.SubjectAlternativeName) and list(alternative) == [want],
        "alternative names",
    )
    need(end - start <= datetime.timedelta(days=DAYS[role]), "span")
    need(isinstance(public, rsa.RSAPublicKey), "key type")
    spki = spki_of(public)  # type: ignore[arg-type]
    load_rsa(spki)
    return Identity(name, spki, start.timestamp(), end.timestamp())


_SKI, _AKI = ExtensionOID.SUBJECT_KEY_IDENTIFIER, ExtensionOID.AUTHORITY_KEY_IDENTIFIER
_CRITICAL = (
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
)


# --- Invitations: section 6 ---------------------------------------------------------------------


@dataclass(frozen=True)
class Invitation:
    """What a newcomer is handed. `expiry` in Unix seconds."""

    host: str
    port: int
    name: str
    relay_id: bytes
    token: bytes = field(default_factory=lambda: os.urandom(6))
    seed: bytes = field(default_factory=lambda: os.urandom(16))
    expiry: int = field(default_factory=lambda: int(time.time()) + 86400)

    @property
    def key(self) -> ed25519.Ed25519PrivateKey:
        """The key ``inv``."""
        seed = expand(extract(bytes(48), self.seed), b"securerelay/1 invite", 32)
        return ed25519.Ed25519PrivateKey.from_private_bytes(seed)

    @property
    def public(self) -> bytes:
        """The half of it that the relay stores."""
        return self.key.public_key().public_bytes_raw()

    def uri(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        front = f"securerelay://{host}:{self.port}/{self.name}"
        body = b"\x01" + self.relay_id + self.token + self.seed + self.expiry.to_bytes(5, "big")
        text = base64.b32encode(body + self._checksum(front, body)).decode().lower()
        return f"{front}#sr1i_{text}"

    @staticmethod
    def _checksum(front: str, body: bytes) -> bytes:
        return sha384(b"securerelay/1 invitation checksum" + front.encode() + body)[:5]

    @classmethod
    def parse(cls, text: str) -> Invitation:
        """The invitation in a URI; ValueError if it is none."""
        match = re.fullmatch(
            r"(securerelay://(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9.-]{1,253})):([1-9][0-9]{0,4})/"
            rf"({PEER}))#sr1i_([a-z2-7]{{104}})",
            text,
            re.ASCII,
        )
        if match is None or int(match[4]) > 65535:
            raise ValueError("no invitation")
        data = base64.b32decode(match[6].upper())
        body = data[:60]
        if body[0] != 1 or data[60:] != cls._checksum(match[1], body):
            raise ValueError("invitation with a typing mistake")
        expiry = int.from_bytes(body[55:60], "big")
        host, port = match[2] or match[3], int(match[4])
        return cls(host, port, match[5], body[1:33], body[33:39], body[39:55], expiry)


# --- Key schedule and records: sections 3 and 4 -------------------------------------------------

DATA, UPDATE, REKEY, CLOSE, ALERT, WELCOME = range(1, 7)
SIZES = (256, 1024, 4096, 16384)
REASON = rb"[a-z0-9-]{1,32}"
CODES = frozenset(
    ["revoked", "expired", "token-used", "replaced", "shutdown", "protocol", "too-large"]
).union(["rekey-overdue", "internal", "rekey-due"])
H_EMPTY = sha384(b"")


def handshake_secrets(secrets: Secrets, z: bytes, digest: bytes) -> None:
    """From ``es``, Z and T(..02) to ``c_hs`` and ``s_hs`` with their keys, and on to ``ms``."""
    hs = extract(label(secrets["es"], "derived", H_EMPTY, 48), z)
    secrets.update(z=z, hs=hs, ms=extract(label(hs, "derived", H_EMPTY, 48), bytes(48)))
    for side in ("c", "s"):
        secret = label(hs, f"{side} hs", digest, 48)
        secrets[f"{side}_hs"] = secret
        secrets[f"{side}_hs key"] = label(secret, "key", b"", 32)
        secrets[f"{side}_hs iv"] = label(secret, "iv", b"", 12)


def application_secrets(secrets: Secrets, digest: bytes, prefix: str = "") -> None:
    """From ``ms`` to all that a session needs; the names get `prefix`, "rekey1 " and so on."""
    ms = secrets[prefix + "ms"]
    for name, text in (
        ("c_ap", "c ap"),
        ("s_ap", "s ap"),
        ("exporter", "exporter"),
        ("rms", "resumption"),
        ("rs", "rekey secret"),
    ):
        secrets[prefix + name] = label(ms, text, digest, 48)
    if not prefix:
        secrets["session_id"] = label(ms, "session id", digest, 16)


class Half:
    """The keys of one direction.

    Args:
        suite: name of the AEAD.
        secrets: where its keys are noted, under `name`, "`name` key", "`name` iv".
        name: which of the secrets this starts from.
    """

    def __init__(self, suite: str, secrets: Secrets, name: str) -> None:
        self.suite, self.secrets, self.name, self.updates = suite, secrets, name, 0
        self._start(name)

    def _start(self, name: str) -> None:
        self.secret = self.secrets[name]
        key = self.secrets[f"{name} key"] = label(self.secret, "key", b"", 32)
        self.iv = self.secrets[f"{name} iv"] = label(self.secret, "iv", b"", 12)
        self.aead, self.sequence = AEADS[self.suite](key), 0

    def _nonce(self) -> bytes:
        number = int.from_bytes(self.iv, "big") ^ self.sequence
        self.sequence += 1
        return number.to_bytes(12, "big")

    def seal(self, kind: int, content: bytes, size: int = 0) -> bytes:
        """One record, its length in front. `size` asks for more padding than needed."""
        plain = content + bytes([kind])
        size = min(s for s in SIZES if s >= max(len(plain), size))
        return self.seal_plain(plain.ljust(size, b"\0"))

    def seal_plain(self, plain: bytes) -> bytes:
        """A record of just these bytes, legal or not."""
        header = u16(len(plain) + 16)
        return header + self.aead.encrypt(self._nonce(), plain, header)

    def open(self, sealed: bytes) -> tuple[int, bytes]:
        """Type and content of a record, given without its length."""
        if len(sealed) - 16 not in SIZES:
            raise Wrong("record", "length")
        try:
            plain = self.aead.decrypt(self._nonce(), sealed, u16(len(sealed)))
        except InvalidTag:
            raise Wrong("record", "tag") from None
        plain = plain.rstrip(b"\0")
        if not plain:
            raise Wrong("record", "no type")
        return plain[-1], plain[:-1]

    def update(self) -> None:
        """The next traffic secret, after UPDATE."""
        self.updates += 1
        name = f"{self.name} upd{self.updates}"
        self.secrets[name] = label(self.secret, "traffic upd", b"", 48)
        self._start(name)


def _part(data: bytes, at: int, width: int) -> tuple[bytes, int]:
    """A value behind its length of `width` bytes, and where it ends."""
    start = at + width
    end = start + int.from_bytes(data[at:start], "big")
    if end > len(data):
        raise Wrong("protocol", "REKEY too short")
    return data[start:end], end


class Session:
    """The keys of an established session, and REKEY, for either role.

    Args:
        role: ``"client"`` or ``"relay"``.
        suite: name of the AEAD.
        secrets: with ``c_ap``, ``s_ap``, ``exporter`` and ``rs``.
    """

    def __init__(self, role: str, suite: str, secrets: Secrets) -> None:
        self.role, self.suite, self.secrets, self.epoch = role, suite, secrets, 0
        self._body_c = self._body_s = b""
        self._ephemeral: Ephemeral | None = None
        self._z = b""
        self._keys()

    @property
    def prefix(self) -> str:
        return f"rekey{self.epoch} " if self.epoch else ""

    def _keys(self) -> None:
        mine, theirs = ("c_ap", "s_ap") if self.role == "client" else ("s_ap", "c_ap")
        self.out = Half(self.suite, self.secrets, self.prefix + mine)
        self.into = Half(self.suite, self.secrets, self.prefix + theirs)

    def _digest(self, body_s: bytes) -> bytes:
        exporter = self.secrets[self.prefix + "exporter"]
        return transcript([(0x20, exporter), (0x21, self._body_c), (0x22, body_s)])

    def _switch(self, z: bytes) -> None:
        digest = self._digest(self._body_s)
        rs = self.secrets[self.prefix + "rs"]
        self.epoch += 1
        self.secrets[self.prefix + "z"] = z
        self.secrets[self.prefix + "ms"] = extract(label(rs, "rekey", digest, 48), z)
        application_secrets(self.secrets, digest, self.prefix)
        self._keys()

    def ticket_psk(self, ticket_id: bytes) -> bytes:
        """The key of a ticket of the present epoch, noted as "psk <id>"."""
        psk = label(self.secrets[self.prefix + "rms"], "ticket client", ticket_id, 48)
        self.secrets[f"psk {b64(ticket_id)}"] = psk
        return psk

    def rekey_offer(self, group: str, private: Any = None) -> bytes:
        """The client's first REKEY content."""
        self._ephemeral = Ephemeral(group, private)
        self._body_c = b"\x01" + _exchange(group, self._ephemeral.share)
        return self._body_c

    def rekey_answer(
        self, body_c: bytes, permitted: Sequence[str], sign: Signer, private: Any = None
    ) -> bytes:
        """The relay's REKEY content."""
        group, share, end = _parse_exchange(body_c, 1)
        if end != len(body_c) or group not in permitted:
            raise Wrong("protocol", "REKEY")
        self._body_c = body_c
        mine, self._z = answer_share(group, share, private)
        unsigned = b"\x02" + _exchange(group, mine)
        signature = sign(RELAY_REKEY, self._digest(unsigned))
        self._body_s = unsigned + u16(len(signature)) + signature
        return self._body_s

    def rekey_confirm(self, body_s: bytes, relay_spki: bytes, sign: Signer) -> bytes:
        """Check the relay's answer, switch, and return the last record under the old keys."""
        assert self._ephemeral is not None
        group, share, end = _parse_exchange(body_s, 2)
        signature, total = _part(body_s, end, 2)
        if group != self._ephemeral.group or total != len(body_s):
            raise Wrong("protocol", "REKEY")
        verify(relay_spki, RELAY_REKEY, self._digest(body_s[:end]), signature, "protocol")
        z = self._ephemeral.finish(share)
        self._body_s = body_s
        signature = sign(PEER_REKEY, self._digest(body_s))
        done = self.out.seal(REKEY, b"\x03" + u16(len(signature)) + signature)
        self._switch(z)
        return done

    def rekey_done(self, body: bytes, peer_spki: bytes) -> None:
        """Check the client's confirmation and switch."""
        signature, end = _part(body, 1, 2)
        if body[:1] != b"\x03" or end != len(body):
            raise Wrong("protocol", "REKEY")
        verify(peer_spki, PEER_REKEY, self._digest(self._body_s), signature, "protocol")
        self._switch(self._z)


def _exchange(group: str, share: bytes) -> bytes:
    return bytes([len(group)]) + group.encode() + u16(len(share)) + share


def _parse_exchange(body: bytes, kind: int) -> tuple[str, bytes, int]:
    if body[:1] != bytes([kind]):
        raise Wrong("protocol", "REKEY in the wrong order")
    group, at = _part(body, 1, 1)
    share, at = _part(body, at, 2)
    return group.decode("latin-1"), share, at


# --- Session messages: section 5 ----------------------------------------------------------------

_NUMBER, _CODE, _TAG, _ID = (
    r"0|[1-9][0-9]{0,18}",
    r"[a-z0-9-]{1,32}",
    r"[A-Za-z0-9_-]{1,22}",
    r"[A-Za-z0-9_-]{22}",
)
_TTL, _TO, _WORD, _BODY = rf"-|{_NUMBER}", rf"@?{PEER}", r"[a-z0-9._-]{1,64}", "body"
_SEQ = r"[1-9][0-9]{0,18}"
FROM_CLIENT = {
    "STREAM": (_ID, _NUMBER),
    "SEND": (_SEQ, _TO, _TTL, "[-r]", _BODY),
    "LISTEN": (_NUMBER,),
    "ACK": (_NUMBER,),
    "PING": (_TAG,),
    "PONG": (_TAG,),
    "CALL": (_TAG, _WORD, _BODY),
}
FROM_RELAY = {
    "STREAM": (_ID, _NUMBER),
    "OK": (_NUMBER,),
    "NO": (_NUMBER, _CODE),
    "LISTEN": (_NUMBER, _NUMBER),
    "STOPPED": (_CODE,),
    "MSG": (_NUMBER, PEER, _TO, _ID, _NUMBER, _NUMBER, _BODY),
    "GOT": (_NUMBER, PEER, _NUMBER),
    "PING": (_TAG,),
    "PONG": (_TAG,),
    "REPLY": (_TAG, _CODE, _BODY),
    "EVENT": (_WORD, _BODY),
}


@dataclass(frozen=True)
class Message:
    """One session message: the verb, its tokens (numbers as int), the body if the verb has one."""

    verb: str
    tokens: tuple[int | str, ...]
    body: bytes | None = None


def encode(verb: str, *tokens: int | str, body: bytes | None = None) -> bytes:
    """The bytes of a message, unchecked; the body's length is appended to the header."""
    words = [verb, *map(str, tokens)]
    if body is not None:
        words.append(str(len(body)))
    return " ".join(words).encode() + b"\n" + (body or b"")


class Decoder:
    """Takes DATA contents and gives messages.

    Args:
        table: `FROM_CLIENT` or `FROM_RELAY`.
        limit: longest body in bytes.
    """

    def __init__(self, table: dict[str, tuple[str, ...]], limit: int = 1 << 20) -> None:
        self._table, self._limit = table, limit
        self._buffer = bytearray()
        self._open: tuple[str, tuple[int | str, ...], int] | None = None

    def feed(self, content: bytes) -> list[Message]:
        """The messages that this completes; Wrong "protocol" or "too-large"."""
        self._buffer += content
        found: list[Message] = []
        while True:
            if self._open is None:
                end = self._buffer.find(b"\n", 0, 512)
                if end < 0:
                    if len(self._buffer) >= 512:
                        raise Wrong("protocol", "header too long")
                    return found
                header = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                verb, tokens, length = self._header(header)
                if length is None:
                    found.append(Message(verb, tokens))
                    continue
                self._open = verb, tokens, length
            verb, tokens, length = self._open
            if len(self._buffer) < length:
                return found
            found.append(Message(verb, tokens, bytes(self._buffer[:length])))
            del self._buffer[:length]
            self._open = None

    def _header(self, header: bytes) -> tuple[str, tuple[int | str, ...], int | None]:
        verb, *words = header.decode("latin-1").split(" ")
        kinds = self._table.get(verb)
        if kinds is None or len(kinds) != len(words):
            raise Wrong("protocol", "header")
        tokens: list[int | str] = []
        for kind, word in zip(kinds, words, strict=True):
            numeric = kind in (_NUMBER, _SEQ, _BODY) or (kind == _TTL and word != "-")
            if re.fullmatch(_NUMBER if kind in (_TTL, _BODY) and numeric else kind, word) is None:
                raise Wrong("protocol", "token")
            tokens.append(int(word) if numeric else word)
        if kinds[-1] != _BODY:
            return verb, tuple(tokens), None
        length = tokens.pop()
        assert isinstance(length, int)
        if length > self._limit:
            raise Wrong("too-large")
        return verb, tuple(tokens), length


# --- Handshake lines, both roles: section 3 -----------------------------------------------------

_NAME, _B64 = r"[a-z0-9-]{1,32}", r"[A-Za-z0-9_-]"
_LIST = rf"{_NAME}(?:,{_NAME}){{0,7}}"
_SHARE = rf"nonce=(?P<nonce>{_B64}{{43}}) share=(?P<group>{_NAME}):(?P<share>{_B64}+)"
C1_LINE = re.compile(
    rf"SR1 HELLO suites=(?P<suites>{_LIST}) groups=(?P<groups>{_LIST}) {_SHARE}"
    rf"(?: ticket=(?P<ticket>{_B64}{{22}}))? to=(?P<to>{_B64}{{22}})"
    rf"(?: binder=(?P<binder>{_B64}{{64}}))?".encode()
)
S1_LINE = re.compile(rf"SR1 HELLO suite=(?P<suite>{_NAME}) {_SHARE}(?P<yes> resumed=yes)?".encode())
RETRY_LINE = re.compile(rf"SR1 RETRY group=({_NAME})".encode())
AUTH_LINE = re.compile(rf"SR1 AUTH ({_B64}+)".encode())
ERR_LINE = re.compile(rf"SR1 ERR code=({_NAME})".encode())


def match_line(pattern: re.Pattern[bytes], line: bytes) -> re.Match[bytes]:
    """The parts of the one legal line; "protocol" for another verb, "bad-line" for the rest."""
    match = pattern.fullmatch(line)
    if match is not None:
        return match
    verb = re.match(rb"SR1 [A-Z]+", pattern.pattern)
    other = re.fullmatch(rb"(SR1 [A-Z]+)(?: [!-~]+)*", line)
    if other is not None and verb is not None and other[1] != verb[0]:
        raise Wrong("protocol", "verb")
    raise Wrong("bad-line", "syntax")


def knock(relay_id: bytes, front: bytes) -> bytes:
    """The field ``to`` for a C1 line that reads `front` before it."""
    return mac(sha384(b"securerelay/1 knock" + relay_id), front)[:16]


def binder_of(secrets: Secrets, retried: Items, front: bytes) -> bytes:
    """The binder of a C1 line that reads `front` before it; needs ``es`` of the ticket."""
    secrets["binder_key"] = label(secrets["es"], "res binder", H_EMPTY, 48)
    secrets["binder"] = finished(secrets["binder_key"], transcript([*retried, (0x12, front)]))
    return secrets["binder"]


def seal_auth(suite: str, secrets: Secrets, side: str, items: Items, size: int) -> bytes:
    """An AUTH line with its LF."""
    return seal_auth_plain(suite, secrets, side, auth_plaintext(items, size))


def seal_auth_plain(suite: str, secrets: Secrets, side: str, plain: bytes) -> bytes:
    """An AUTH line of just these bytes, legal or not."""
    aead = AEADS[suite](secrets[f"{side}_hs key"])
    sealed = aead.encrypt(secrets[f"{side}_hs iv"], plain, f"sr1 {side}-auth".encode())
    return f"SR1 AUTH {b64(sealed)}\n".encode()


def open_auth(suite: str, secrets: Secrets, side: str, line: bytes) -> bytes:
    """The plaintext of an AUTH line."""
    sealed = unb64(match_line(AUTH_LINE, line)[1])
    aead = AEADS[suite](secrets[f"{side}_hs key"])
    try:
        return aead.decrypt(secrets[f"{side}_hs iv"], sealed, f"sr1 {side}-auth".encode())
    except InvalidTag:
        raise Wrong("auth-failed", "AUTH does not open") from None


def same(ours: bytes, theirs: bytes, what: str) -> None:
    """Compare a MAC in constant time."""
    if not hmac.compare_digest(ours, theirs):
        raise Wrong("auth-failed", what)


@dataclass(frozen=True)
class Credential:
    """What a peer proves itself with: certificate (DER) and a signer."""

    certificate: bytes
    sign: Signer


@dataclass(frozen=True)
class Newcomer:
    """What a newcomer enrols with: invitation, its new key's SPKI (DER) and a signer."""

    invitation: Invitation
    spki: bytes
    sign: Signer


@dataclass(frozen=True)
class Ticket:
    """A client's ticket. `expiry` in Unix seconds; the certificate is the relay's, DER."""

    id: bytes
    psk: bytes
    expiry: int
    relay_certificate: bytes


class ClientHandshake:
    """The client's side up to C2, a method for each step; lines come and go without sockets.

    Args:
        relay_id: SHA-256 of the CA's SPKI.
        identity: credential, or what a newcomer has.
        suites: AEADs offered.
        groups: groups permitted and offered.
        share: the group to share first; the first of `groups` if None.
        ticket: resume with this.
        relay_name: the name the relay's certificate must bear; any if None.
        now: Unix seconds.
        nonce: 32 bytes, for vectors.
        privates: ephemeral private keys by group, for vectors (see `Ephemeral`).
    """

    def __init__(
        self,
        relay_id: bytes,
        identity: Credential | Newcomer,
        *,
        suites: Sequence[str] = SUITES,
        groups: Sequence[str] = ("x25519mlkem768",),
        share: str | None = None,
        ticket: Ticket | None = None,
        relay_name: str | None = None,
        now: float | None = None,
        nonce: bytes | None = None,
        privates: dict[str, Any] | None = None,
    ) -> None:
        self.relay_id, self.identity = relay_id, identity
        self.suites, self.groups = suites, groups
        self.first = share or groups[0]
        self.ticket, self.relay_name = ticket, relay_name
        self.now = time.time() if now is None else now
        self.nonce = nonce or os.urandom(32)
        self.privates = privates or {}
        self.secrets: Secrets = {}
        self.items: Items = []
        self.resumed = False
        self.suite = self.group = ""
        self.relay: Identity | None = None
        self.relay_certificate = ticket.relay_certificate if ticket else b""
        self._ca_spki = b""

    def hello(self, group: str | None = None) -> bytes:
        """C1, or C1' for another group."""
        group = group or self.first
        self.ephemeral = Ephemeral(group, self.privates.get(group))
        front = (
            f"SR1 HELLO suites={','.join(self.suites)} groups={','.join(self.groups)}"
            f" nonce={b64(self.nonce)} share={group}:{b64(self.ephemeral.share)}"
        )
        if self.ticket:
            front += f" ticket={b64(self.ticket.id)}"
        line = f"{front} to={b64(knock(self.relay_id, front.encode()))}".encode()
        self.secrets["es"] = extract(bytes(48), self.ticket.psk if self.ticket else bytes(48))
        if self.ticket:
            line += f" binder={b64(binder_of(self.secrets, self.items, line))}".encode()
        self._c1 = line
        return line + b"\n"

    def retry(self, line: bytes) -> bytes:
        """C1' for a RETRY line."""
        group = match_line(RETRY_LINE, line)[1].decode()
        if self.items or group not in self.groups or group == self.ephemeral.group:
            raise Wrong("protocol", "RETRY")
        self.items = [(0x10, sha384(self._c1)), (0x11, line)]
        return self.hello(group)

    def server_hello(self, line: bytes) -> None:
        """The first line of S1."""
        match = match_line(S1_LINE, line)
        self.suite, self.group = match["suite"].decode(), match["group"].decode()
        self.resumed = match["yes"] is not None
        if self.suite not in self.suites or self.group != self.ephemeral.group:
            raise Wrong("protocol", "suite or group that was not offered")
        if self.resumed and self.ticket is None:
            raise Wrong("protocol", "resumed without a ticket")
        if unb64(match["nonce"]) == self.nonce:
            raise Wrong("protocol", "our own nonce came back")
        z = self.ephemeral.finish(unb64(match["share"]))
        self.items += [(0x01, self._c1), (0x02, line)]
        if not self.resumed:
            self.secrets["es"] = extract(bytes(48), bytes(48))
        handshake_secrets(self.secrets, z, transcript(self.items))

    def server_auth(self, line: bytes) -> bytes:
        """Check the second line of S1 and give C2; the session's secrets are then known."""
        plain = open_auth(self.suite, self.secrets, "s", line)
        if self.resumed:
            ee, sfin = auth_items(plain, SHORT, (0x03, 0x06))
            if ee:
                raise Wrong("auth-failed", "EE of a resumption")
            self.items.append((0x03, ee))
            spki = x509.load_der_x509_certificate(self.relay_certificate).public_key()
            assert isinstance(spki, rsa.RSAPublicKey)
            self.relay_spki = spki_of(spki)
        else:
            ee, scert, ssig, sfin = auth_items(plain, FULL, (0x03, 0x04, 0x05, 0x06))
            if sha256(ee) != self.relay_id:
                raise Wrong("auth-failed", "another CA")
            self.relay = check_certificate(scert, ee, "relay")
            if self.relay_name not in (None, self.relay.name):
                raise Wrong("auth-failed", "another relay's name")
            if not self.relay.current(self.now):
                raise Wrong("auth-failed", "dates of the relay's certificate")
            self.items += [(0x03, ee), (0x04, scert)]
            verify(self.relay.spki, RELAY_VERIFY, transcript(self.items), ssig, "auth-failed")
            self.items.append((0x05, ssig))
            self.relay_certificate, self.relay_spki, self._ca_spki = scert, self.relay.spki, ee
        same(finished(self.secrets["s_hs"], transcript(self.items)), sfin, "SFIN")
        self.items.append((0x06, sfin))
        return self._client_auth()

    def _client_auth(self) -> bytes:
        before = len(self.items)
        if isinstance(self.identity, Newcomer):
            invitation = self.identity.invitation
            self.items.append((0x0A, invitation.token + invitation.name.encode()))
            self.items.append((0x0B, self.identity.spki))
            self.items.append((0x0C, self.identity.sign(POSSESSION, transcript(self.items))))
            signature = invitation.key.sign(framed(INVITATION, transcript(self.items)))
            self.items.append((0x0D, signature))
        elif not self.resumed:
            self.items.append((0x07, self.identity.certificate))
            self.items.append((0x08, self.identity.sign(PEER_VERIFY, transcript(self.items))))
        self.items.append((0x09, finished(self.secrets["c_hs"], transcript(self.items))))
        size = SHORT if self.resumed else FULL
        line = seal_auth(self.suite, self.secrets, "c", self.items[before:], size)
        application_secrets(self.secrets, transcript(self.items))
        return line

    def check_own(self, der: bytes) -> Identity:
        """The newcomer checks the certificate it was given."""
        assert isinstance(self.identity, Newcomer)
        mine = check_certificate(der, self._ca_spki, "peer")
        if (mine.name, mine.spki) != (self.identity.invitation.name, self.identity.spki):
            raise Wrong("auth-failed", "a certificate for somebody else")
        return mine


# --- The relay ----------------------------------------------------------------------------------


@dataclass
class StoredTicket:
    """A ticket as the relay keeps it. Times in Unix seconds."""

    psk: bytes
    name: str
    spki: bytes
    auth_time: float
    expiry: int
    session_id: bytes


@dataclass
class StoredInvitation:
    """An invitation as the relay keeps it; the last two are set by its use."""

    public: bytes
    name: str
    expiry: int
    spki: bytes = b""
    certificate: bytes = b""


class RelayState:
    """What all connections of one relay share.

    Args:
        authority: its CA.
        key: the relay's key.
        name: the relay's name.
        suites: AEADs, its preference first.
        groups: groups permitted, its preference first.
        now: a clock in Unix seconds.
    """

    def __init__(
        self,
        authority: Authority,
        key: rsa.RSAPrivateKey,
        name: str = "relay",
        *,
        suites: Sequence[str] = SUITES,
        groups: Sequence[str] = ("x25519mlkem768",),
        now: Callable[[], float] = time.time,
    ) -> None:
        self.authority, self.sign, self.now = authority, signer(key), now
        self.suites, self.groups = suites, groups
        self.certificate = authority.issue("relay", name, key.public_key(), now() - 3600)
        self.tickets: dict[bytes, StoredTicket] = {}
        self.invitations: dict[bytes, StoredInvitation] = {}
        self.knocks: set[bytes] = set()
        self.revoked: set[str] = set()
        self.new_id: Callable[[], bytes] = lambda: os.urandom(16)

    def invite(self, name: str, host: str = "127.0.0.1", port: int = 7443) -> Invitation:
        """A new invitation, known to this relay."""
        expiry = int(self.now()) + 86400
        made = Invitation(host, port, name, self.authority.relay_id, expiry=expiry)
        self.invitations[made.token] = StoredInvitation(made.public, name, expiry)
        return made


class Relay:
    """One connection at the relay: bytes in, bytes out.

    Messages of the peer gather in `messages`; a test answers with `send`.

    Args:
        state: what it shares with other connections.
        nonce: 32 bytes, for vectors.
        privates: by group, for vectors (see `answer_share`).
    """

    def __init__(
        self,
        state: RelayState,
        *,
        nonce: bytes | None = None,
        privates: dict[str, Any] | None = None,
    ) -> None:
        self.state, self.nonce, self.privates = state, nonce or os.urandom(32), privates or {}
        self.secrets: Secrets = {}
        self.items: Items = []
        self.session: Session | None = None
        self.ended: str | None = None  # why, once nothing is read any more
        self.peer = ""
        self.resumed = False
        self.suite = self.group = ""
        self.messages: list[Message] = []
        self.decoder = Decoder(FROM_CLIENT)
        self._ticket: StoredTicket | None = None
        self._auth_time = 0.0
        self._spki = b""
        self._first: re.Match[bytes] | None = None
        self._retry = ""
        self._rekeying = False
        self._held: list[bytes] = []
        self._buffer, self._output = bytearray(), bytearray()
        self._line: Callable[[bytes], None] = self._client_hello

    # Bytes.

    def receive(self, data: bytes) -> bytes:
        """Take what came and give what is to be written."""
        self._buffer += data
        try:
            while self.ended is None and self._step():
                pass
        except Wrong as error:
            self._fail(error)
        return self.take()

    def take(self) -> bytes:
        """What else is to be written."""
        data = bytes(self._output)
        self._output.clear()
        return data

    def lost(self) -> None:
        """TCP ended."""
        self.ended = self.ended or "truncated"

    def _step(self) -> bool:
        if self.session is None:
            end = self._buffer.find(b"\n", 0, LINE)
            if end < 0:
                if len(self._buffer) >= LINE:
                    raise Wrong("too-long")
                return False
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            self._line(line)
            return True
        if len(self._buffer) < 2:
            return False
        length = int.from_bytes(self._buffer[:2], "big")
        if length - 16 not in SIZES:
            raise Wrong("record", "length")
        if len(self._buffer) < 2 + length:
            return False
        sealed = bytes(self._buffer[2 : 2 + length])
        del self._buffer[: 2 + length]
        self._record(*self.session.into.open(sealed))
        return True

    def _fail(self, error: Wrong) -> None:
        self.ended = error.code
        if self.session is None:
            self._output += f"SR1 ERR code={error.code}\n".encode()
        elif error.code != "record":
            code = error.code if error.code in CODES else "protocol"
            self._output += self.session.out.seal(ALERT, code.encode())

    # Handshake.

    def _empty(self) -> None:
        if self._buffer:
            raise Wrong("protocol", "pipelined")

    def _client_hello(self, line: bytes) -> None:
        state, match = self.state, match_line(C1_LINE, line)
        to = unb64(match["to"])
        front = line[: match.start("to") - len(" to=")]
        if not hmac.compare_digest(to, knock(state.authority.relay_id, front)):
            raise Wrong("bad-line", "knock")
        if to in state.knocks:
            raise Wrong("bad-line", "repeated knock")
        state.knocks.add(to)
        suites = match["suites"].decode().split(",")
        groups = match["groups"].decode().split(",")
        if len(set(suites)) != len(suites) or len(set(groups)) != len(groups):
            raise Wrong("bad-line", "a name twice")
        if (match["ticket"] is None) != (match["binder"] is None):
            raise Wrong("bad-line", "ticket without binder or the reverse")
        unb64(match["nonce"])
        share, offered = unb64(match["share"]), match["group"].decode()
        ticket_id = unb64(match["ticket"] or b"")
        binder = unb64(match["binder"] or b"")
        if self._first is not None:
            fields = ("suites", "groups", "nonce", "ticket")
            if any(match[f] != self._first[f] for f in fields) or offered != self._retry:
                raise Wrong("protocol", "C1 changed")
        if offered not in groups:
            raise Wrong("bad-share", "share of a group that is not listed")
        suite = next((s for s in state.suites if s in suites), None)
        if suite is None:
            raise Wrong("no-common-suite")
        group = next((g for g in state.groups if g in groups), None)
        if group is None:
            raise Wrong("no-common-group")
        self._empty()
        if group != offered:
            answer = f"SR1 RETRY group={group}".encode()
            self._first, self._retry = match, group
            self.items = [(0x10, sha384(line)), (0x11, answer)]
            self._output += answer + b"\n"
            return
        self.suite, self.group = suite, group
        mine, z = answer_share(group, share, self.privates.get(group))
        if ticket_id:
            cut = line[: match.start("binder") - len(" binder=")]
            self._find_ticket(sha256(ticket_id), binder, cut)
        self.secrets["es"] = extract(bytes(48), self._ticket.psk if self._ticket else bytes(48))
        text = f"SR1 HELLO suite={suite} nonce={b64(self.nonce)} share={group}:{b64(mine)}"
        hello = (text + (" resumed=yes" if self.resumed else "")).encode()
        self.items += [(0x01, line), (0x02, hello)]
        handshake_secrets(self.secrets, z, transcript(self.items))
        self._output += hello + b"\n" + self._server_auth()
        self._line = self._client_auth

    def _find_ticket(self, key: bytes, binder: bytes, cut: bytes) -> None:
        now, ticket = self.state.now(), self.state.tickets.get(key)
        if ticket is None or ticket.expiry <= now or ticket.name in self.state.revoked:
            return
        self.secrets["es"] = extract(bytes(48), ticket.psk)
        same(binder_of(self.secrets, self.items, cut), binder, "binder")
        del self.state.tickets[key]
        self._ticket, self.resumed = ticket, True

    def _server_auth(self) -> bytes:
        before = len(self.items)
        if self.resumed:
            self.items.append((0x03, b""))
        else:
            self.items.append((0x03, self.state.authority.spki))
            self.items.append((0x04, self.state.certificate))
            signature = self.state.sign(RELAY_VERIFY, transcript(self.items))
            self.items.append((0x05, signature))
        self.items.append((0x06, finished(self.secrets["s_hs"], transcript(self.items))))
        size = SHORT if self.resumed else FULL
        return seal_auth(self.suite, self.secrets, "s", self.items[before:], size)

    def _client_auth(self, line: bytes) -> None:
        plain = open_auth(self.suite, self.secrets, "c", line)
        refusal, certificate = "", b""
        if self._ticket is not None:
            (cfin,) = auth_items(plain, SHORT, (0x09,))
            self._confirm(cfin)
            self.peer, self._spki = self._ticket.name, self._ticket.spki
            self._auth_time = self._ticket.auth_time
        elif plain[:1] == b"\x0a":
            refusal, certificate = self._newcomer(plain)
        else:
            ccert, csig, cfin = auth_items(plain, FULL, (0x07, 0x08, 0x09))
            peer = check_certificate(ccert, self.state.authority.spki, "peer")
            self.items.append((0x07, ccert))
            verify(peer.spki, PEER_VERIFY, transcript(self.items), csig, "auth-failed")
            self.items.append((0x08, csig))
            self._confirm(cfin)
            self.peer, self._spki, self._auth_time = peer.name, peer.spki, self.state.now()
            if not peer.current(self.state.now()):
                refusal = "expired"
        if self.peer in self.state.revoked:
            refusal = "revoked"
        application_secrets(self.secrets, transcript(self.items))
        self.session = Session("relay", self.suite, self.secrets)
        if refusal:
            self._output += self.session.out.seal(ALERT, refusal.encode(), 4096)
            self.ended = refusal
        elif certificate:
            self._welcome(0, certificate=b64(certificate))
            self.close("enrolled")
        else:
            self._welcome(2)

    def _confirm(self, cfin: bytes) -> None:
        same(finished(self.secrets["c_hs"], transcript(self.items)), cfin, "CFIN")
        self.items.append((0x09, cfin))

    def _newcomer(self, plain: bytes) -> tuple[str, bytes]:
        kinds = (0x0A, 0x0B, 0x0C, 0x0D, 0x09)
        invite, spki, possession, signature, cfin = auth_items(plain, FULL, kinds)
        found = self.state.invitations.get(invite[:6])
        if found is None or invite[6:] != found.name.encode():
            raise Wrong("auth-failed", "token")
        public = load_rsa(spki)
        self.items += [(0x0A, invite), (0x0B, spki)]
        verify(spki, POSSESSION, transcript(self.items), possession, "auth-failed")
        self.items.append((0x0C, possession))
        try:
            key = ed25519.Ed25519PublicKey.from_public_bytes(found.public)
            key.verify(signature, framed(INVITATION, transcript(self.items)))
        except InvalidSignature:
            raise Wrong("auth-failed", "invitation's signature") from None
        self.items.append((0x0D, signature))
        self._confirm(cfin)
        self.peer = found.name
        if found.spki:
            return ("", found.certificate) if found.spki == spki else ("token-used", b"")
        now = self.state.now()
        if found.expiry <= now:
            return "expired", b""
        found.spki = spki
        found.certificate = self.state.authority.issue("peer", found.name, public, now)
        return "", found.certificate

    def _welcome(self, tickets: int, **more: object) -> None:
        assert self.session is not None
        now = self.state.now()
        expiry = int(min(now, self._auth_time) + 86400)
        listed = []
        for _ in range(tickets):
            made = self.state.new_id()
            self.state.tickets[sha256(made)] = StoredTicket(
                self.session.ticket_psk(made),
                self.peer,
                self._spki,
                self._auth_time,
                expiry,
                self.secrets["session_id"],
            )
            listed.append([b64(made), expiry])
        content = {"time": int(now * 1000), "tickets": listed, "limits": {}, "log": {}, **more}
        text = json.dumps(content, separators=(",", ":")).encode()
        self._output += self.session.out.seal(WELCOME, text, 4096)

    # Session.

    def _record(self, kind: int, content: bytes) -> None:
        assert self.session is not None
        if kind == DATA and content:
            self.messages += self.decoder.feed(content)
        elif kind == UPDATE and not content and not self._rekeying:
            self.session.into.update()
        elif kind == REKEY and not self._rekeying:
            groups, private = self.state.groups, self.privates.get("rekey")
            body = self.session.rekey_answer(content, groups, self.state.sign, private)
            self._output += self.session.out.seal(REKEY, body)
            self._rekeying = True
        elif kind == REKEY:
            self.session.rekey_done(content, self._spki)
            self._rekeying = False
            mine = self.secrets["session_id"]
            old = [key for key, one in self.state.tickets.items() if one.session_id == mine]
            for key in old:
                del self.state.tickets[key]
            self._welcome(2)
            for held in self._held:
                self._write(held)
            self._held.clear()
        elif kind == CLOSE and re.fullmatch(REASON, content):
            self._output += self.session.out.seal(CLOSE, content)
            self.ended = "closed: " + content.decode()
        elif kind == ALERT and content.decode("latin-1") in CODES - {"rekey-due"}:
            self.ended = "alert: " + content.decode()
        else:
            raise Wrong("protocol", f"record of type {kind}")

    def _write(self, stream: bytes) -> None:
        assert self.session is not None
        for at in range(0, len(stream), 16383):
            self._output += self.session.out.seal(DATA, stream[at : at + 16383])

    def send(self, stream: bytes) -> None:
        """Queue bytes of the message stream, after an open REKEY if there is one."""
        if self._rekeying:
            self._held.append(stream)
        else:
            self._write(stream)

    def update(self) -> None:
        """Change the sending key."""
        assert self.session is not None
        assert not self._rekeying
        self._output += self.session.out.seal(UPDATE, b"")
        self.session.out.update()

    def alert(self, code: str) -> None:
        """Send an ALERT; all but ``rekey-due`` end the session."""
        assert self.session is not None
        self._output += self.session.out.seal(ALERT, code.encode())
        if code != "rekey-due":
            self.ended = code

    def close(self, reason: str) -> None:
        """Send CLOSE. The peer's own is still to come, but nothing else of it is read."""
        assert self.session is not None
        self._output += self.session.out.seal(CLOSE, reason.encode())
        self.ended = reason

    def serve(self, sock: socket.socket) -> None:
        """Serve a connected socket until the session ends."""
        while self.ended is None:
            data = sock.recv(65536)
            if not data:
                self.lost()
                break
            sock.sendall(self.receive(data))
        sock.close()


# --- The blocking client ------------------------------------------------------------------------


class Wire(Protocol):
    """The three methods of a socket that `Client` uses."""

    def sendall(self, data: bytes, /) -> None: ...
    def recv(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


class Memory:
    """A wire that ends in a `Relay` in the same thread."""

    def __init__(self, relay: Relay) -> None:
        self.relay, self._inbox = relay, bytearray()

    def sendall(self, data: bytes, /) -> None:
        self._inbox += self.relay.receive(data)

    def recv(self, size: int, /) -> bytes:
        self._inbox += self.relay.take()
        data = bytes(self._inbox[:size])
        del self._inbox[:size]
        if not data and self.relay.ended is None:
            raise RuntimeError("the relay has nothing to say and the client waits")
        return data

    def close(self) -> None:
        self.relay.lost()


@dataclass(frozen=True)
class Welcome:
    """The relay's WELCOME: the whole mapping and the tickets in it."""

    content: dict[str, Any]
    tickets: tuple[Ticket, ...]


class Client:
    """A blocking client.

    ``Client(relay_id, credential).connect(host, port)``, then `handshake`, `resume` or `enrol`.

    Args:
        relay_id: SHA-256 of the CA's SPKI.
        credential: for `handshake` and `resume`.
        groups: groups permitted.
        options: further arguments of `ClientHandshake`: suites, share, relay_name, now, nonce,
            privates (where the key ``"rekey"`` holds the private key for `rekey`).
    """

    def __init__(
        self,
        relay_id: bytes,
        credential: Credential | None = None,
        *,
        groups: Sequence[str] = ("x25519mlkem768",),
        **options: Any,
    ) -> None:
        self.relay_id, self.credential, self.groups, self.options = (
            relay_id,
            credential,
            groups,
            options,
        )
        self.core: ClientHandshake | None = None
        self._session: Session | None = None
        self.rekey_due = False
        self.decoder = Decoder(FROM_RELAY)
        self._messages: list[Message] = []
        self._buffer = bytearray()

    # Bytes.

    def connect(self, host: str, port: int, timeout: float = 10.0) -> Client:
        """Open TCP; `timeout` in seconds holds for every later read too."""
        return self.attach(socket.create_connection((host, port), timeout))

    def attach(self, wire: Wire) -> Client:
        """Use a wire that is there already."""
        self.wire = wire
        return self

    @property
    def secrets(self) -> Secrets:
        """Every secret of this run."""
        assert self.core is not None
        return self.core.secrets

    @property
    def session(self) -> Session:
        """The session, which must have begun."""
        if self._session is None:
            raise RuntimeError("no session")
        return self._session

    def _fill(self, size: int) -> None:
        while len(self._buffer) < size:
            data = self.wire.recv(65536)
            if not data:
                raise Told("end")
            self._buffer += data

    def _take(self, size: int) -> bytes:
        self._fill(size)
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def read_line(self) -> bytes:
        """The next handshake line without LF; Told("err") if it is an ERR."""
        while (end := self._buffer.find(b"\n", 0, LINE)) < 0:
            if len(self._buffer) >= LINE:
                raise Wrong("too-long")
            self._fill(len(self._buffer) + 1)
        line = self._take(end + 1)[:-1]
        error = ERR_LINE.fullmatch(line)
        if error:
            raise Told("err", error[1].decode())
        return line

    # Handshake.

    def handshake(self, ticket: Ticket | None = None) -> Welcome:
        """The whole handshake up to WELCOME.

        Raises:
            Wrong: the relay broke a rule.
            Told: it refused or went away.
        """
        if self.credential is None:
            raise ValueError("no credential")
        self._until_c2(self.credential, ticket)
        return self._welcome()

    def resume(self, ticket: Ticket) -> Welcome:
        """A handshake with a ticket; ``core.resumed`` tells whether the relay took it."""
        return self.handshake(ticket)

    def enrol(self, invitation: Invitation, key: rsa.RSAPrivateKey) -> Credential:
        """Enrol; the connection is over afterwards."""
        if invitation.relay_id != self.relay_id:
            raise ValueError("an invitation to another relay")
        spki, sign = spki_of(key.public_key()), signer(key)
        core = self._until_c2(Newcomer(invitation, spki, sign), None)
        welcome = self._welcome()
        if welcome.tickets:
            raise Wrong("protocol", "tickets for a newcomer")
        certificate = unb64(str(welcome.content.get("certificate", "")).encode(), "protocol")
        core.check_own(certificate)
        try:
            self.receive()
        except Told as told:
            if told.how != "close":
                raise
            return Credential(certificate, sign)
        raise Wrong("protocol", "a message for a newcomer")

    def _until_c2(self, identity: Credential | Newcomer, ticket: Ticket | None) -> ClientHandshake:
        self.core = core = ClientHandshake(
            self.relay_id, identity, groups=self.groups, ticket=ticket, **self.options
        )
        self.wire.sendall(core.hello())
        line = self.read_line()
        if line.startswith(b"SR1 RETRY "):
            if self._buffer:
                raise Wrong("protocol", "pipelined")
            self.wire.sendall(core.retry(line))
            line = self.read_line()
        core.server_hello(line)
        c2 = core.server_auth(self.read_line())
        if self._buffer:
            raise Wrong("protocol", "pipelined")
        self.wire.sendall(c2)
        self._session = Session("client", core.suite, core.secrets)
        self._fill(2)
        if self._buffer[:2] == b"SR":
            self.read_line()
            raise Wrong("protocol", "a line after C2")
        return core

    def _welcome(self) -> Welcome:
        kind, content = self.receive_record()
        if kind == ALERT:
            raise Told("alert", content.decode("latin-1"))
        if kind != WELCOME:
            raise Wrong("protocol", "no WELCOME")
        assert self.core is not None
        try:
            mapping = json.loads(content)
            tickets = []
            for text, expiry in mapping.get("tickets", []):
                one = unb64(text.encode(), "protocol")
                if len(one) != 16 or not isinstance(expiry, int):
                    raise Wrong("protocol", "ticket")
                psk = self.session.ticket_psk(one)
                tickets.append(Ticket(one, psk, expiry, self.core.relay_certificate))
        except (ValueError, TypeError, AttributeError):
            raise Wrong("protocol", "WELCOME") from None
        return Welcome(mapping, tuple(tickets))

    # Session.

    def send_record(self, kind: int, content: bytes) -> None:
        self.wire.sendall(self.session.out.seal(kind, content))

    def receive_record(self) -> tuple[int, bytes]:
        """Type and content of the next record, whatever it is."""
        self._fill(2)
        length = int.from_bytes(self._buffer[:2], "big")
        if length - 16 not in SIZES:
            raise Wrong("record", "length")
        return self.session.into.open(self._take(2 + length)[2:])

    def _await(self, wanted: int) -> bytes:
        """Content of the next record of this type; what comes before it has its usual effect."""
        while True:
            kind, content = self.receive_record()
            if kind == wanted:
                return content
            if kind == DATA and content:
                self._messages += self.decoder.feed(content)
            elif kind == UPDATE and not content:
                self.session.into.update()
            elif kind == ALERT and content == b"rekey-due":
                self.rekey_due = True
            elif kind == ALERT and content.decode("latin-1") in CODES:
                raise Told("alert", content.decode())
            elif kind == CLOSE and re.fullmatch(REASON, content):
                with contextlib.suppress(OSError):  # it may have gone already
                    self.send_record(CLOSE, content)
                raise Told("close", content.decode())
            else:
                raise Wrong("protocol", f"record of type {kind}")

    def send(self, stream: bytes) -> None:
        """Bytes of the message stream, as `encode` makes them, in as few records as they need."""
        for at in range(0, len(stream), 16383):
            self.send_record(DATA, stream[at : at + 16383])

    def receive(self) -> Message:
        """The next message; Told if the session ends instead."""
        while not self._messages:
            content = self._await(DATA)
            if not content:
                raise Wrong("protocol", "empty DATA")
            self._messages += self.decoder.feed(content)
        return self._messages.pop(0)

    def update(self) -> None:
        """Change the sending key."""
        self.send_record(UPDATE, b"")
        self.session.out.update()

    def rekey(self, group: str | None = None) -> Welcome:
        """A REKEY, to the relay's new WELCOME."""
        if self.core is None or not isinstance(self.core.identity, Credential):
            raise RuntimeError("no session")
        private = self.core.privates.get("rekey")
        self.send_record(REKEY, self.session.rekey_offer(group or self.groups[0], private))
        answer, sign = self._await(REKEY), self.core.identity.sign
        self.wire.sendall(self.session.rekey_confirm(answer, self.core.relay_spki, sign))
        self.rekey_due = False
        return self._welcome()

    def close(self, reason: str = "done") -> str:
        """Send CLOSE, wait for the answer, close the wire; the relay's reason."""
        self.send_record(CLOSE, reason.encode())
        try:
            while True:
                kind, content = self.receive_record()
                if kind == CLOSE:
                    return content.decode("latin-1")
                if kind == UPDATE:
                    self.session.into.update()
        finally:
            self.wire.close()
