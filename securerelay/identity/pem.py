"""Certificates as text, for files and other programs (RFC 7468)."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from securerelay.errors import LocalError


def write(der: bytes) -> bytes:
    """Write a certificate (DER) as PEM."""
    return x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)


def read(data: bytes) -> bytes:
    """Read a certificate from PEM.

    Args:
        data: a file's content; only the first certificate in it counts.

    Returns:
        The certificate in DER.

    Raises:
        LocalError: if there is none.
    """
    try:
        certificate = x509.load_pem_x509_certificate(data)
    except ValueError:
        raise LocalError("this is no certificate in PEM") from None
    return certificate.public_bytes(serialization.Encoding.DER)
