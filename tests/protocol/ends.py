"""Both ends of a connection in one place, sharing nothing but the bytes between them.

Certificates are stood in for by a name and a key, since what a certificate must say is not the
protocol's business; each end gets a checker, as it does from the identity package in real life.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from securerelay.crypto import primitives
from securerelay.errors import CertificateError, RemoteError
from securerelay.protocol.connection import (
    Authenticated,
    ClientConfig,
    ClientConnection,
    ClientTicket,
    Credential,
    End,
    Enrolment,
    EnrolmentRequest,
    NewTicket,
    RelayConfig,
    RelayConnection,
    Resumption,
    Welcome,
)
from securerelay.protocol.hello import KnockMemory
from securerelay.protocol.lines import encode
from securerelay.protocol.link import Link
from securerelay.protocol.records import Kind
from tests import keys


def rsa_key(index: int = 0) -> rsa.RSAPrivateKey:
    return keys.rsa_key(2048, index)


RELAY, ALICE, STRANGER = 0, 1, 2
CA_SPKI = b"the key of a certificate authority, as far as the protocol knows"
RELAY_ID = primitives.sha256(CA_SPKI)
TIME = 1_800_000_000_000
SEED = bytes(range(32))


@dataclass(frozen=True)
class Identity:
    name: str
    spki: bytes


def certificate(name: str, key: int, role: str) -> bytes:
    return b"|".join((role.encode(), name.encode(), primitives.spki(rsa_key(key).public_key())))


def check(role: str, der: bytes) -> Identity:
    found, name, spki = der.split(b"|", 2)
    if found.decode() != role:
        raise CertificateError("another role")
    return Identity(name.decode(), spki)


def signer(key: int) -> Callable[[bytes, bytes], bytes]:
    return lambda context, digest: primitives.sign_pss(rsa_key(key), context, digest)


def credential(name: str = "alice", key: int = ALICE) -> Credential:
    return Credential(certificate(name, key, "peer"), signer(key))


def enrolment(name: str = "alice", key: int = ALICE, seed: bytes = SEED) -> Enrolment:
    spki = primitives.spki(rsa_key(key).public_key())
    return Enrolment(b"token!", name, seed, spki, signer(key))


def relay_config(**changes: Any) -> RelayConfig:
    config = RelayConfig(
        RELAY_ID,
        CA_SPKI,
        certificate("box", RELAY, "relay"),
        lambda der: check("peer", der),
        KnockMemory(),
    )
    for name, value in changes.items():
        setattr(config, name, value)
    return config


def client_config(**changes: Any) -> ClientConfig:
    values: dict[str, Any] = {
        "relay_id": RELAY_ID,
        "check_relay": lambda ca, der: check("relay", der),
        "credential": credential(),
    }
    return ClientConfig(**{**values, **changes})


@dataclass
class RelaySide:
    """A relay that answers its connection's questions at once, or when told."""

    config: RelayConfig
    seconds: Callable[[], float]
    answers: bool = True
    invitation: bytes | None = field(default_factory=lambda: primitives.ed25519_public(SEED))
    tickets: dict[bytes, Resumption] = field(default_factory=dict)
    out: list[bytes] = field(default_factory=list)
    received: bytes = b""
    ends: list[End] = field(default_factory=list)
    peer: Authenticated | None = None
    newcomer: EnrolmentRequest | None = None
    refusal: str | None = None
    signatures: deque[tuple[bytes, bytes]] = field(default_factory=deque)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.connection = RelayConnection(self.config, self, self.seconds)

    def write(self, data: bytes) -> None:
        self.out.append(data)

    def data(self, content: bytes) -> None:
        self.received += content

    def ended(self, end: End) -> None:
        self.ends.append(end)

    def find_ticket(self, ticket_id: bytes, verify: Callable[[bytes], None]) -> None:
        self.asked.append("ticket")
        found = self.tickets.get(primitives.sha256(ticket_id))
        if found is not None:
            try:
                verify(found.psk)
            except RemoteError as error:
                self.connection.fail(error)
                return
            del self.tickets[primitives.sha256(ticket_id)]
        self.connection.ticket_found(found)

    def find_invitation(self, token: bytes) -> None:
        self.asked.append("invitation")
        self.connection.invitation_found(self.invitation if token == b"token!" else None)

    def sign(self, context: bytes, digest: bytes) -> None:
        self.asked.append("sign")
        self.signatures.append((context, digest))
        if self.answers:
            self.sign_now()

    def sign_now(self) -> None:
        context, digest = self.signatures.popleft()
        self.connection.signed(primitives.sign_pss(rsa_key(RELAY), context, digest))

    def authenticated(self, peer: Authenticated) -> None:
        self.asked.append("peer")
        self.peer = peer
        if self.answers:
            self.let_in()

    def let_in(self) -> None:
        assert self.peer is not None
        if self.refusal is not None:
            self.connection.refuse(self.refusal)
            return
        self.connection.welcome(self.keep(self.peer.tickets))

    def keep(self, tickets: tuple[NewTicket, ...]) -> dict[str, Any]:
        peer = self.peer
        assert peer is not None
        auth_time = TIME if peer.auth_time is None else peer.auth_time
        self.tickets = {
            primitives.sha256(ticket.id): Resumption(
                ticket.psk, peer.name, peer.peer_spki, auth_time, peer.certificate_sha256
            )
            for ticket in tickets
        }
        rows = [[encode(ticket.id), TIME // 1000 + 86_400] for ticket in tickets]
        return {"time": TIME, "tickets": rows, "limits": {"message": 1 << 20}, "log": {}}

    def enrolling(self, request: EnrolmentRequest) -> None:
        self.asked.append("newcomer")
        self.newcomer = request
        if self.refusal is not None:
            self.connection.refuse(self.refusal)
            return
        der = b"|".join((b"peer", request.name.encode(), request.spki))
        self.connection.welcome({"time": TIME, "certificate": encode(der)})

    def rekeyed(self, tickets: tuple[NewTicket, ...]) -> None:
        self.asked.append("rekeyed")
        self.connection.welcome(self.keep(tickets))


@dataclass
class ClientSide:
    """A client that keeps what it is told."""

    config: ClientConfig
    seconds: Callable[[], float]
    out: list[bytes] = field(default_factory=list)
    received: bytes = b""
    ends: list[End] = field(default_factory=list)
    welcomes: list[Welcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.connection = ClientConnection(self.config, self, self.seconds)

    def write(self, data: bytes) -> None:
        self.out.append(data)

    def data(self, content: bytes) -> None:
        self.received += content

    def ended(self, end: End) -> None:
        self.ends.append(end)

    def welcome(self, welcome: Welcome) -> None:
        self.welcomes.append(welcome)

    @property
    def ticket(self) -> ClientTicket:
        return self.welcomes[-1].tickets[0]


@dataclass
class Ends:
    """A relay and a client with a wire between them that can be looked at and altered."""

    relay: RelaySide
    client: ClientSide
    now: float = 1000.0

    @classmethod
    def make(
        cls,
        relay: RelayConfig | None = None,
        client: ClientConfig | None = None,
        **relay_side: Any,
    ) -> Ends:
        box: list[Ends] = []

        def seconds() -> float:
            return box[0].now if box else 1000.0

        ends = cls(
            RelaySide(relay or relay_config(), seconds, **relay_side),
            ClientSide(client or client_config(), seconds),
        )
        box.append(ends)
        return ends

    def to_relay(self) -> bytes:
        """Take what the client wrote."""
        data = b"".join(self.client.out)
        self.client.out.clear()
        return data

    def to_client(self) -> bytes:
        """Take what the relay wrote."""
        data = b"".join(self.relay.out)
        self.relay.out.clear()
        return data

    def pump(self) -> Ends:
        """Carry bytes both ways until nothing moves."""
        while self.client.out or self.relay.out:
            if data := self.to_relay():
                self.relay.connection.receive(data)
            if data := self.to_client():
                self.client.connection.receive(data)
        return self

    def run(self) -> Ends:
        """Begin, and carry bytes until nothing moves."""
        self.client.connection.start()
        return self.pump()

    @property
    def established(self) -> bool:
        return self.relay.connection.established and self.client.connection.established

    def exchange(self) -> None:
        """Show that data passes both ways."""
        self.client.received = self.relay.received = b""
        self.client.connection.send(b"from the client")
        self.relay.connection.send(b"from the relay")
        self.pump()
        assert self.relay.received == b"from the client"
        assert self.client.received == b"from the relay"


def record(sender: Link, kind: int, content: bytes = b"") -> bytes:
    """Seal anything under a sender's present key, behind the back of its connection."""
    assert sender._sealer is not None
    plain = (content + bytes((kind,))).ljust(256, b"\0")
    if kind in Kind.__members__.values() or len(plain) != 256:
        return sender._sealer.seal(kind, content)
    sequence, sender._sealer.sequence = sender._sealer.sequence, sender._sealer.sequence + 1
    nonce = (sender._sealer._iv ^ sequence).to_bytes(12, "big")
    header = (256 + 16).to_bytes(2, "big")
    return header + sender._sealer._cipher.encrypt(nonce, plain, header)


def opened(receiver: Link, data: bytes) -> list[tuple[int, bytes]]:
    """Open what would reach a receiver, instead of it."""
    assert receiver._opener is not None
    return list(receiver._opener.open_all(data))
