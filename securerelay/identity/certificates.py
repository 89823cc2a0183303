"""The certificate profile, as checks that refuse everything else (SR1 section 3; RFC 5280).

The authority's signature is verified before anything else in a certificate is looked at, so that
all later checks read what the authority wrote.  They are here all the same: one authority signs
relays and peers, and a mistake of its own must not turn one into the other.
"""

from __future__ import annotations

import datetime
import functools
from dataclasses import dataclass
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtensionOID, NameOID

from securerelay import names
from securerelay.crypto import primitives
from securerelay.errors import CertificateError
from securerelay.text import printable

RELAY = "relay"
PEER = "peer"
PURPOSES = {
    RELAY: x509.ObjectIdentifier("2.25.39189654266415929131594498639589236463"),
    PEER: x509.ObjectIdentifier("2.25.279465989848633987968167894175637089627"),
}
"""The extended key usage of each role; a certificate has one of them and no other."""

MAX_SIZE = 2048
MAX_DAYS = {RELAY: 90, PEER: 30}
"""How long a certificate of each role may live."""
SMALLEST_KEY, LARGEST_KEY = 2048, 4096

KEY_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)

# AlgorithmIdentifier of RSASSA-PSS with SHA-384, MGF1-SHA-384 and a salt of 48 bytes (RFC 4055).
_PSS_SHA384 = bytes.fromhex(
    "304106092a864886f70d01010a3034a00f300d06096086480165030402020500"
    "a11c301a06092a864886f70d010108300d06096086480165030402020500a203020130"
)
_CRITICAL = frozenset(
    (
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    )
)
_UNREADABLE = (
    ValueError,
    TypeError,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True)
class Certified:
    """What a certificate says, once all of it is checked but for its dates.

    Args:
        name: the relay's or peer's name.
        spki: its public key, SubjectPublicKeyInfo in DER.
        not_before: first moment of its life, UTC.
        not_after: last moment of its life, UTC.
        serial: its serial number.
        sha256: SHA-256 of its DER, 32 bytes.
    """

    name: str
    spki: bytes
    not_before: datetime.datetime
    not_after: datetime.datetime
    serial: int
    sha256: bytes

    def expired(self, now: datetime.datetime) -> bool:
        """Tell whether a moment (aware of its zone) lies outside the certificate's life."""
        return not self.not_before <= now <= self.not_after

    @property
    def renew_at(self) -> datetime.datetime:
        """When to ask for the next one: after two thirds of the life (SR1 section 6)."""
        return self.not_before + (self.not_after - self.not_before) * 2 / 3


PeerCertificate = Certified
RelayIdentity = Certified


@functools.lru_cache(maxsize=16)
def authority_name(relay_id: bytes) -> x509.Name:
    """Return the subject of an authority, which is also the issuer of all it signs.

    Args:
        relay_id: 32 bytes, SHA-256 of the authority's SubjectPublicKeyInfo.
    """
    return x509.Name(
        (x509.NameAttribute(NameOID.COMMON_NAME, f"securerelay-{relay_id[:8].hex()}"),)
    )


def check(authority: rsa.RSAPublicKey, der: bytes, role: str) -> Certified:
    """Read a certificate strictly, but for its dates.

    Args:
        authority: the key that must have signed it.
        der: the certificate as it came.
        role: :data:`RELAY` or :data:`PEER`.

    Returns:
        What it says.

    Raises:
        CertificateError: if it breaks any rule of the profile.
    """
    if len(der) > MAX_SIZE:
        raise CertificateError(f"the certificate has {len(der)} bytes; at most {MAX_SIZE}")
    _require_signature(authority, der)
    relay_id = primitives.sha256(primitives.spki(authority))
    # The parts are parsed when they are asked for.
    try:
        return _profile(x509.load_der_x509_certificate(der), relay_id, der, role)
    except _UNREADABLE as error:
        raise CertificateError(f"the certificate cannot be read: {printable(str(error))}") from None


def check_peer(authority: rsa.RSAPublicKey, der: bytes) -> PeerCertificate:
    """Read a peer's certificate strictly.

    Dates are left to the caller, who tells only an authenticated peer about them.

    Args:
        authority: the key of the relay's own authority.
        der: the certificate as it came.

    Returns:
        What it says.

    Raises:
        CertificateError: if it breaks any rule of the profile.
    """
    return check(authority, der, PEER)


def check_relay(
    ca_spki: bytes, der: bytes, *, now: datetime.datetime, name: str | None = None
) -> RelayIdentity:
    """Read a relay's certificate strictly.

    Args:
        ca_spki: the authority's SubjectPublicKeyInfo in DER, compared with the relay id before.
        der: the certificate as it came.
        now: the time, aware of its zone.
        name: the name the relay must have; None to take any.

    Returns:
        What it says.

    Raises:
        CertificateError: if it breaks any rule of the profile, has another name, or is out of date.
    """
    authority = primitives.load_rsa_spki(ca_spki)
    if authority is None or not primitives.is_strong_rsa(authority, SMALLEST_KEY, LARGEST_KEY):
        raise CertificateError("the authority's key is not RSA of 2048 to 4096 bits")
    relay = check(authority, der, RELAY)
    if name is not None and relay.name != name:
        raise CertificateError(f"the relay is called {relay.name}, not {name}")
    if relay.expired(now):
        raise CertificateError(
            f"the relay's certificate is valid from {relay.not_before} to {relay.not_after}"
        )
    return relay


def check_enrolled(
    ca_spki: bytes, der: bytes, *, name: str, spki: bytes, now: datetime.datetime
) -> PeerCertificate:
    """Read the certificate that a relay has just issued to us.

    Args:
        ca_spki: the authority's SubjectPublicKeyInfo in DER, compared with the relay id.
        der: the certificate as it came.
        name: the name we asked for.
        spki: our own public key, SubjectPublicKeyInfo in DER.
        now: the time, aware of its zone.

    Returns:
        What it says.

    Raises:
        CertificateError: if it breaks the profile, is for another name or key, or is out of date.
    """
    authority = primitives.load_rsa_spki(ca_spki)
    if authority is None:
        raise CertificateError("the authority's key is not RSA")
    peer = check_peer(authority, der)
    if peer.name != name or peer.spki != spki:
        raise CertificateError("the certificate is for another name or key than ours")
    if peer.expired(now):
        raise CertificateError(
            f"our certificate is valid from {peer.not_before} to {peer.not_after}"
        )
    return peer


def _require_signature(authority: rsa.RSAPublicKey, der: bytes) -> None:
    """Verify the authority's signature, before a parser of certificates sees a byte.

    Around what is signed there is only one way to write a certificate, so it can be taken apart by
    lengths alone; and since nothing outside is free, nobody can write one certificate in two ways.
    """
    size = (authority.key_size + 7) // 8
    head = b"\x30\x82" + max(len(der) - 4, 0).to_bytes(2, "big")
    middle = _PSS_SHA384 + b"\x03\x82" + (size + 1).to_bytes(2, "big") + b"\0"
    signed, signature = der[4 : -len(middle) - size], der[-size:]
    _require(
        der == head + signed + middle + signature,
        "not a certificate in DER with RSA-PSS, SHA-384 and a salt of 48 bytes",
    )
    try:
        authority.verify(signature, signed, primitives.PSS, hashes.SHA384())
    except InvalidSignature:
        raise CertificateError("not signed by our authority") from None


def _profile(certificate: x509.Certificate, relay_id: bytes, der: bytes, role: str) -> Certified:
    """Check everything the authority wrote but the dates, in the order of the fields."""
    _require(certificate.version is x509.Version.v3, "the certificate is not X.509 version 3")
    _require(certificate.issuer == authority_name(relay_id), "the certificate names another issuer")
    not_before, not_after = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    _require(not_before <= not_after, "the certificate ends before it begins")
    name = _common_name(certificate.subject)
    spki = _key(certificate)
    _extensions(certificate.extensions, role, name)
    days = MAX_DAYS[role]  # only now is it sure that this is its role
    _require(
        not_after - not_before <= datetime.timedelta(days=days),
        f"the certificate lives longer than {days} days",
    )
    return Certified(
        name, spki, not_before, not_after, certificate.serial_number, primitives.sha256(der)
    )


def _common_name(subject: x509.Name) -> str:
    common = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    _require(len(common) == 1, f"the certificate has {len(common)} common names")
    name = common[0].value
    # The library lets NUL and line feeds through.
    if not isinstance(name, str) or not names.is_peer(name.encode("utf-8", "surrogatepass")):
        raise CertificateError(f"the common name is no name: {printable(name, 64)}")
    return name


def _key(certificate: x509.Certificate) -> bytes:
    try:
        key = certificate.public_key()
    except UnsupportedAlgorithm:
        raise CertificateError("the certificate's key is not RSA") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise CertificateError("the certificate's key is not RSA")
    _require(
        primitives.is_strong_rsa(key, SMALLEST_KEY, LARGEST_KEY),
        "the certificate's key is not RSA of 2048 to 4096 bits with the exponent 65537",
    )
    return primitives.spki(key)


def _extensions(extensions: x509.Extensions, role: str, name: str) -> None:
    unknown = [one.oid for one in extensions if one.critical and one.oid not in _CRITICAL]
    if unknown:
        raise CertificateError(f"unknown critical extension {unknown[0].dotted_string}")
    constraints = _critical(extensions, x509.BasicConstraints)
    _require(not constraints.ca, "the certificate is an authority's (CA:TRUE)")
    _require(
        _critical(extensions, x509.KeyUsage) == KEY_USAGE,
        "the key usage is not digitalSignature alone",
    )
    purposes = list(_critical(extensions, x509.ExtendedKeyUsage))
    _require(purposes == [PURPOSES[role]], f"the extended key usage is not that of a {role} alone")
    try:
        alternatives = list(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        alternatives = []
    _require(
        alternatives == [alternative_name(role, name)],
        f"the alternative name is not securerelay:{role}/{name} alone",
    )


def alternative_name(role: str, name: str) -> x509.UniformResourceIdentifier:
    """Return the one alternative name that a role and a common name must agree with."""
    return x509.UniformResourceIdentifier(f"securerelay:{role}/{name}")


def _critical(extensions: x509.Extensions, kind: type[_Extension]) -> _Extension:
    try:
        extension = extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        raise CertificateError(f"the certificate has no {kind.__name__}") from None
    _require(extension.critical, f"{kind.__name__} is not critical")
    return extension.value


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise CertificateError(otherwise)
