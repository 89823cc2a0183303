"""A peer on a plain blocking socket: the least that can load a relay without holding it up."""

from __future__ import annotations

import socket
import time

from cryptography.hazmat.primitives.asymmetric import rsa

from securerelay.crypto import primitives
from securerelay.identity.invitation import Invitation
from securerelay.protocol.connection import (
    ClientConfig,
    ClientConnection,
    ClientTicket,
    Credential,
    End,
    Enrolment,
    RelayIdentity,
    Welcome,
)

_CHUNK = 1 << 18


class _Unchecked:
    """A relay's certificate taken at its word: what it says is not what is measured."""

    def __init__(self, der: bytes) -> None:
        from cryptography import x509

        key = x509.load_der_x509_certificate(der).public_key()
        assert isinstance(key, rsa.RSAPublicKey), "a relay's key is RSA"
        self.spki = primitives.spki(key)
        self.name = "relay"


def trust(_: bytes, der: bytes) -> RelayIdentity:
    """Believe a relay's certificate."""
    return _Unchecked(der)


class Peer:
    """One connection of a peer.

    Args:
        port: the relay's, on 127.0.0.1.
        relay_id: 32 bytes.
        credential: who connects.
        ticket: resumes a session.
    """

    def __init__(
        self,
        port: int,
        relay_id: bytes,
        credential: Credential | Enrolment,
        ticket: ClientTicket | None = None,
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = bytearray()
        self.greeting: Welcome | None = None
        self.end: End | None = None
        config = ClientConfig(relay_id, trust, credential, ticket)
        self.connection = ClientConnection(config, self, time.monotonic)

    @classmethod
    def enrol(cls, port: int, invitation: Invitation, key: rsa.RSAPrivateKey) -> Credential:
        """Redeem an invitation."""

        def sign(context: bytes, digest: bytes) -> bytes:
            return primitives.sign_pss(key, context, digest)

        spki = primitives.spki(key.public_key())
        newcomer = Enrolment(invitation.token, invitation.name, invitation.signing_seed, spki, sign)
        peer = cls(port, invitation.relay_id, newcomer).handshake()
        assert peer.greeting is not None, "welcomed"
        assert peer.greeting.certificate is not None, "enrolled"
        peer.socket.close()
        return Credential(peer.greeting.certificate, sign)

    # --- what the connection asks of its host ---

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self.socket.sendall(data)

    def data(self, content: bytes) -> None:
        """Keep what came."""
        self.received += content

    def welcome(self, welcome: Welcome) -> None:
        """Note that the relay let us in."""
        self.greeting = welcome

    def ended(self, end: End) -> None:
        """Note how it ended."""
        self.end = end

    # --- what a load asks ---

    def handshake(self) -> Peer:
        """Connect, up to the WELCOME."""
        self.connection.start()
        while self.greeting is None:
            self.receive()
        return self

    def receive(self) -> None:
        """Take what has come, waiting for something."""
        data = self.socket.recv(_CHUNK)
        if data:
            self.connection.receive(data)
        if not data or (self.end is not None and not self.end.orderly):
            raise SystemExit(f"the relay ended a connection: {self.end}")

    def send(self, messages: bytes) -> None:
        """Send session messages."""
        self.connection.send(messages)

    def close(self) -> None:
        """Just go."""
        self.socket.close()
