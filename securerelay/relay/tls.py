"""Endpoints inside TLS: a certificate of the relay's own authority, made at start and renewed.

Its key lives in memory alone, and every start makes another; whoever connects trusts the authority.
What TLS carries is SR1 all the same: it adds nothing to the security, but passes where only TLS
does.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.ssl import CertificateOptions
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from securerelay.identity.invitation import parse_address
from securerelay.identity.relayfolder import RelayFolder
from securerelay.relay.config import Config

LOCAL = ("localhost", "127.0.0.1", "::1")


@implementer(IOpenSSLServerConnectionCreator)
class OwnCertificate:
    """Makes TLS connections with whatever certificate is the relay's present one.

    Attributes:
        options: key, certificate and chain; old connections survive their replacement.
    """

    def __init__(self) -> None:
        self.options: CertificateOptions | None = None

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Make one connection."""
        if self.options is None:
            raise RuntimeError("no certificate yet")
        return SSL.Connection(self.options.getContext(), None)


def hosts(config: Config) -> tuple[str, ...]:
    """List the names and addresses that the certificate is to carry, each once."""
    advertised = () if config.advertise is None else (parse_address(config.advertise)[0].lower(),)
    return tuple(dict.fromkeys((*advertised, *config.tls.names, *LOCAL)))


def make_options(
    folder: RelayFolder, names: Sequence[str], now: datetime, days: int
) -> CertificateOptions:
    """Make a key and have it certified; slow, so it is run in a thread.

    Args:
        folder: has the authority.
        names: host names and IP addresses.
        now: the time, aware of its zone.
        days: how long the certificate lives.

    Returns:
        What Twisted needs for TLS 1.2 and above.

    Raises:
        LocalError: if a name cannot be in a certificate.
    """
    key, chain = folder.issue_tls(names, now, days)
    # Twisted is annotated with classes of pyOpenSSL's that pyOpenSSL asks not to use any more.
    own, *others = cast(list[Any], x509.load_pem_x509_certificates(chain))
    loaded = cast(Any, serialization.load_pem_private_key(key, None))
    return CertificateOptions(privateKey=loaded, certificate=own, extraCertChain=others)
