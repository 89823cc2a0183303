"""The authority of one relay: it vouches for the relay and for every peer (SR1 section 3).

Its key is all of its state.  What was issued, to whom and what is revoked is kept by the store.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from securerelay import names
from securerelay.crypto import primitives
from securerelay.errors import CertificateError, LocalError
from securerelay.identity import certificates, pem
from securerelay.identity.certificates import PEER, RELAY

PEER_DAYS = 30
RELAY_DAYS = 90
TLS_DAYS = 90
AUTHORITY_DAYS = 20 * 365

# Clocks that are behind ours must not refuse what was issued a moment ago.
_BACKDATED = datetime.timedelta(hours=1)
_HOST = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
    r"(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate as it comes from the authority.

    Args:
        der: the certificate.
        serial: its serial number.
        sha256: SHA-256 of ``der``, 32 bytes.
        not_before: first moment of its life, UTC.
        not_after: last moment of its life, UTC.
    """

    der: bytes
    serial: int
    sha256: bytes
    not_before: datetime.datetime
    not_after: datetime.datetime

    @property
    def pem(self) -> bytes:
        """The certificate as text for files and other programs."""
        return pem.write(self.der)


class Authority:
    """The authority's key and certificate.

    Args:
        key: the RSA key that signs; RSA-4096 when made by :meth:`create`.
        certificate: its own certificate in DER, as made by :meth:`create`.

    Raises:
        LocalError: if the certificate is not this key's.
    """

    def __init__(self, key: rsa.RSAPrivateKey, certificate: bytes) -> None:
        self.key = key
        self.public_key = key.public_key()
        self.spki = primitives.spki(self.public_key)
        self.relay_id = primitives.sha256(self.spki)
        self.certificate = certificate
        self._subject = certificates.authority_name(self.relay_id)
        try:
            own = x509.load_der_x509_certificate(certificate)
            fits = own.subject == self._subject and own.public_key() == self.public_key
        except ValueError:
            fits = False
        if not fits:
            raise LocalError("the authority's certificate does not belong to its key")

    def __repr__(self) -> str:
        return f"<Authority {self.relay_id.hex()}>"

    @classmethod
    def create(cls, now: datetime.datetime, bits: int = 4096) -> Authority:
        """Make a new authority.

        Args:
            now: the time, aware of its zone.
            bits: the size of its key; anything but 4096 is for tests.
        """
        return cls.from_key(rsa.generate_private_key(public_exponent=65537, key_size=bits), now)

    @classmethod
    def from_key(cls, key: rsa.RSAPrivateKey, now: datetime.datetime) -> Authority:
        """Make an authority of a key that exists."""
        public = key.public_key()
        subject = certificates.authority_name(primitives.sha256(primitives.spki(public)))
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        builder = (
            _builder(subject, subject, public, now, AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )
        return cls(key, _sign(key, builder).der)

    def issue_peer(
        self, name: str, spki: bytes, now: datetime.datetime, days: int = PEER_DAYS
    ) -> IssuedCertificate:
        """Vouch for a peer.

        Args:
            name: the peer's name.
            spki: its RSA key of 2048 to 4096 bits, SubjectPublicKeyInfo in DER.
            now: the time, aware of its zone.
            days: how long the certificate lives, at most 89.

        Raises:
            BadName: if that is no name.
            CertificateError: if that is no such key.
        """
        return self._issue(PEER, name, spki, now, days)

    def issue_relay(
        self, name: str, spki: bytes, now: datetime.datetime, days: int = RELAY_DAYS
    ) -> IssuedCertificate:
        """Vouch for the relay itself; arguments as in :meth:`issue_peer`."""
        return self._issue(RELAY, name, spki, now, days)

    def issue_tls(
        self,
        spki: bytes,
        hosts: Iterable[str],
        now: datetime.datetime,
        days: int = TLS_DAYS,
    ) -> IssuedCertificate:
        """Vouch for a TLS endpoint in front of the relay (RFC 5280, RFC 9525).

        Such a certificate is none of the relay's in SR1: its purpose and its alternative names are
        others.

        Args:
            spki: the endpoint's RSA key, SubjectPublicKeyInfo in DER.
            hosts: the host names and IP addresses it answers under.
            now: the time, aware of its zone.
            days: how long the certificate lives.

        Raises:
            LocalError: if a host is neither a plain host name nor an IP address, or there is none.
            CertificateError: if that is no RSA key of 2048 to 4096 bits.
        """
        alternatives = [_host(host) for host in hosts]
        if not alternatives:
            raise LocalError("a TLS certificate needs at least one host name or IP address")
        public = _strong(spki)
        first = x509.Name((x509.NameAttribute(x509.NameOID.COMMON_NAME, "securerelay-tls"),))
        builder = (
            _builder(first, self._subject, public, now, days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(certificates.KEY_USAGE, critical=True)
            .add_extension(
                x509.ExtendedKeyUsage((ExtendedKeyUsageOID.SERVER_AUTH,)), critical=False
            )
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.public_key), critical=False
            )
        )
        return _sign(self.key, builder)

    def _issue(
        self, role: str, name: str, spki: bytes, now: datetime.datetime, days: int
    ) -> IssuedCertificate:
        names.check_peer(name)
        public = _strong(spki)
        subject = x509.Name((x509.NameAttribute(x509.NameOID.COMMON_NAME, name),))
        alternative = certificates.alternative_name(role, name)
        builder = (
            _builder(subject, self._subject, public, now, days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(certificates.KEY_USAGE, critical=True)
            .add_extension(x509.ExtendedKeyUsage((certificates.PURPOSES[role],)), critical=True)
            .add_extension(x509.SubjectAlternativeName((alternative,)), critical=False)
        )
        return _sign(self.key, builder)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: rsa.RSAPublicKey,
    now: datetime.datetime,
    days: int,
) -> x509.CertificateBuilder:
    life = datetime.timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now - _BACKDATED + life)
    )


def _sign(key: rsa.RSAPrivateKey, builder: x509.CertificateBuilder) -> IssuedCertificate:
    signed = builder.sign(key, hashes.SHA384(), rsa_padding=primitives.PSS)
    der = signed.public_bytes(serialization.Encoding.DER)
    return IssuedCertificate(
        der,
        signed.serial_number,
        primitives.sha256(der),
        signed.not_valid_before_utc,
        signed.not_valid_after_utc,
    )


def _strong(spki: bytes) -> rsa.RSAPublicKey:
    key = primitives.load_rsa_spki(spki)
    if key is None or not primitives.is_strong_rsa(
        key, certificates.SMALLEST_KEY, certificates.LARGEST_KEY
    ):
        raise CertificateError("the key is not RSA of 2048 to 4096 bits with the exponent 65537")
    return key


def _host(host: str) -> x509.GeneralName:
    """Turn a host into an alternative name: an IP address never into a DNS name, no wildcards."""
    # An address with a zone ("%eth0") means something on one machine alone.
    if "%" not in host:
        with contextlib.suppress(ValueError):
            return x509.IPAddress(ipaddress.ip_address(host))
    # The last label of a host name has a letter: 1.2.3 and 0x7f.1 are addresses to some programs.
    if not _HOST.fullmatch(host) or not re.search(r"(?:^|\.)[a-z](?:[a-z0-9-]*)\Z", host):
        raise LocalError(f"{host!a} is neither a host name in lower case nor an IP address")
    return x509.DNSName(host)
