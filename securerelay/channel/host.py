"""The inviting end of a channel: an authority, an identity and one invitation, all in memory.

The first connection enrols the guest, the second one brings its certificate and becomes the pipe.
No key is ever written to disk, and the authority is forgotten as soon as it has signed its one
certificate.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from securerelay.channel.pipe import Carrier, Pipe
from securerelay.crypto import primitives
from securerelay.errors import CertificateError, RemoteError
from securerelay.identity.authority import Authority
from securerelay.identity.certificates import check_peer
from securerelay.identity.invitation import Invitation
from securerelay.protocol import lines
from securerelay.protocol.connection import (
    Authenticated,
    End,
    EnrolmentRequest,
    NewTicket,
    RelayConfig,
    RelayConnection,
)
from securerelay.protocol.hello import KnockMemory

KEY_BITS = 3072
LIFETIME = 3600.0
"""Seconds that the invitation is good for."""
HOST_NAME = "host"
GUEST_NAME = "guest"


def new_key() -> rsa.RSAPrivateKey:
    """Make a throw-away key; this takes a good part of a second."""
    return rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)


def new_authority() -> Authority:
    """Make a throw-away authority."""
    return Authority.create(datetime.datetime.now(datetime.timezone.utc), KEY_BITS)


class Host:
    """What the inviting end is, without any transport.

    Args:
        authority: a throw-away one.
        key: a throw-away RSA key.
        address: where the guest will connect, host and port.
        groups: permitted key-exchange groups by preference.
        suites: permitted AEADs by preference.
        established: called with the pipe.
        now: Unix seconds.
    """

    def __init__(
        self,
        authority: Authority,
        key: rsa.RSAPrivateKey,
        address: tuple[str, int],
        established: Callable[[Pipe], None],
        *,
        groups: tuple[str, ...],
        suites: tuple[str, ...] = primitives.SUITES,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.now = now
        self.key = key
        self.established = established
        self._authority: Authority | None = authority
        self._issued: tuple[bytes, bytes] | None = None
        self._taken = False
        expiry = int(now() + LIFETIME)
        self.invitation = Invitation.create(authority.relay_id, *address, GUEST_NAME, expiry)
        own = authority.issue_relay(HOST_NAME, primitives.spki(key.public_key()), self.today())
        self.config = RelayConfig(
            relay_id=authority.relay_id,
            ca_spki=authority.spki,
            certificate=own.der,
            check_peer=lambda der: check_peer(authority.public_key, der),
            knocks=KnockMemory(256),
            suites=suites,
            groups=groups,
            tickets=0,
        )

    def today(self) -> datetime.datetime:
        """The present time as certificates have it."""
        return datetime.datetime.fromtimestamp(self.now(), datetime.timezone.utc)

    @property
    def taken(self) -> bool:
        """Whether the guest is in, and nobody else may come."""
        return self._taken

    def enrol(self, request: EnrolmentRequest) -> bytes:
        """Give the guest its certificate; the same again if it asks again with the same key.

        Raises:
            RemoteError: ``token-used`` or ``expired``.
        """
        if self._issued is not None and self._issued[0] != request.spki:
            raise RemoteError("token-used", "the invitation came again with another key")
        if self.now() > self.invitation.expiry:
            raise RemoteError("expired", "the invitation has expired")
        if self._issued is None:
            assert self._authority is not None
            issued = self._authority.issue_peer(GUEST_NAME, request.spki, self.today(), days=1)
            self._issued = request.spki, issued.der
            self._authority = None
        return self._issued[1]

    def admit(self, peer: Authenticated) -> bool:
        """Let the guest in, once."""
        expected = self._issued is not None and self._issued[1] == peer.certificate
        if not expected or self._taken:
            return False
        self._taken = True
        return True


class HostConnection:
    """One connection to the inviting end (its ``RelayHost``).

    Args:
        host: whom it belongs to.
        carrier: what carries its bytes.
        seconds: a clock that never goes back.
    """

    def __init__(self, host: Host, carrier: Carrier, seconds: Callable[[], float]) -> None:
        self._host = host
        self._carrier = carrier
        self.connection = RelayConnection(host.config, self, seconds)
        self.pipe: Pipe | None = None

    def start(self) -> None:
        """The host waits for the guest to speak."""

    def timed_out(self) -> None:
        """The handshake took too long."""
        self.connection.timed_out()

    # -- RelayHost

    def write(self, data: bytes) -> None:
        """See RelayHost."""
        self._carrier.write(data)

    def find_ticket(self, ticket_id: bytes, verify: Callable[[bytes], None]) -> None:
        """There are none."""
        self.connection.ticket_found(None)

    def find_invitation(self, token: bytes) -> None:
        """There is one."""
        invitation = self._host.invitation
        known = primitives.equal(token, invitation.token)
        self.connection.invitation_found(invitation.public_key if known else None)

    def sign(self, context: bytes, digest: bytes) -> None:
        """See RelayHost."""
        self.connection.signed(primitives.sign_pss(self._host.key, context, digest))

    def enrolling(self, request: EnrolmentRequest) -> None:
        """See RelayHost."""
        try:
            certificate = self._host.enrol(request)
        except RemoteError as error:
            self.connection.refuse(error.code)
        else:
            self._welcome({"certificate": lines.encode(certificate)})

    def authenticated(self, peer: Authenticated) -> None:
        """See RelayHost."""
        if not self._host.admit(peer):
            self.connection.refuse("revoked")
            return
        self.pipe = Pipe(self.connection, self._carrier)
        self._welcome({})
        self._host.established(self.pipe)

    def rekeyed(self, tickets: tuple[NewTicket, ...]) -> None:
        """See RelayHost."""
        self._welcome({})
        if self.pipe is not None:
            self.pipe.flush()

    def _welcome(self, more: dict[str, Any]) -> None:
        said = {"time": int(self._host.now() * 1000), "tickets": [], "limits": {}, "log": {}}
        self.connection.welcome(said | more)

    def data(self, content: bytes) -> None:
        """See RelayHost."""
        if self.pipe is None:
            raise CertificateError("data from nobody")
        self.pipe.received(content)

    def ended(self, end: End) -> None:
        """See RelayHost."""
        self._carrier.lose()
        if self.pipe is not None:
            self.pipe.ended(end)
