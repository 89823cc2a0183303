"""Certificates for brokers that speak TLS: an authority, a server, and one client's for all."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from securerelay.files import write_private
from securerelay.identity.keyfile import generate_key

_BITS = 3072


class Certificates:
    """Makes them, with RSA keys as large as a relay's peers have.

    Args:
        folder: where they are written, as ``authority.pem``, ``server.pem``, ``server.key`` and so
            on.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = generate_key(_BITS)
        self._write("authority", self._issue("authority", self._key))
        for name in ("server", "client"):
            key = generate_key(_BITS)
            self._write(name, self._issue(name, key))
            pem = key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            write_private(folder / f"{name}.key", pem)

    def _write(self, name: str, certificate: x509.Certificate) -> None:
        (self.folder / f"{name}.pem").write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
        )

    def _issue(self, name: str, key: rsa.RSAPrivateKey) -> x509.Certificate:
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(name == "authority", None), critical=True)
        )
        if name == "server":
            address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        return builder.sign(self._key, hashes.SHA384())

    def client(self) -> ssl.SSLContext:
        """Return the client's side of TLS 1.3."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.load_verify_locations(self.folder / "authority.pem")
        context.load_cert_chain(self.folder / "client.pem", self.folder / "client.key")
        return context
