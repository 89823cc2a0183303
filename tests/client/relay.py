"""A small relay for the client's tests: the real protocol, in memory, with an answer to everything
that tests can bend.
"""

from __future__ import annotations

import datetime
import json
import typing
from collections.abc import Callable
from functools import cache

from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock

from securerelay.crypto import primitives
from securerelay.errors import RemoteError
from securerelay.identity.authority import Authority
from securerelay.identity.certificates import check_peer
from securerelay.identity.invitation import Invitation
from securerelay.protocol import lines, messages
from securerelay.protocol.connection import (
    Authenticated,
    End,
    EnrolmentRequest,
    NewTicket,
    RelayConfig,
    RelayConnection,
    Resumption,
)
from securerelay.protocol.hello import KnockMemory
from tests.keys import rsa_key

NOW = 1_800_000_000.0
RELAY_KEY, PEER_KEY, STRANGER_KEY, CA_KEY, OTHER_CA_KEY = range(5)


def date(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)


@cache
def authority(index: int = CA_KEY) -> Authority:
    return Authority.from_key(rsa_key(index=index), date(NOW - 86_400))


class Relay:
    """What all sessions share. Tests set the attributes to make it refuse, forget or lie.

    ``said`` holds what clients said, one tuple a verb; ``sessions`` the connections, newest last.
    """

    def __init__(self, clock: Clock, ca: int = CA_KEY) -> None:
        self.clock = clock
        self.authority = authority(ca)
        own = self.authority.issue_relay(
            "relay", primitives.spki(rsa_key(index=RELAY_KEY).public_key()), date(NOW - 60)
        )
        self.config = RelayConfig(
            self.authority.relay_id,
            self.authority.spki,
            own.der,
            lambda der: check_peer(self.authority.public_key, der),
            KnockMemory(),
        )
        self.said: list[tuple[typing.Any, ...]] = []
        self.sessions: list[Session] = []
        self.resumed: list[bool] = []
        self.tickets: dict[bytes, Resumption] = {}
        self.streams: dict[bytes, int] = {}
        self.mailbox: list[tuple[int, bytes, bytes, bytes, int, bytes]] = []
        self.verdict: Callable[[int, bytes], bytes | None] = lambda seq, to: None
        self.answers: dict[bytes, Callable[[dict[str, typing.Any]], dict[str, typing.Any]]] = {}
        self.invitations: dict[bytes, Invitation] = {}
        self.issued: dict[bytes, tuple[bytes, bytes]] = {}
        self.issue: Callable[[str, bytes], bytes] = lambda name, spki: (
            self.authority.issue_peer(name, spki, date(self.now())).der
        )
        self.refusal: str | None = None
        self.lose_certificate = 0
        self.ticket_refusal: str | None = None
        self.silent = False
        self.limits: dict[str, typing.Any] = {}
        self.receipts: dict[bytes, list[tuple[int, bytes, int]]] = {}
        self.mute_receipts = False
        self.events: dict[bytes, list[tuple[str, int, bytes]]] = {}

    def now(self) -> float:
        return NOW + self.clock.seconds()

    def factory(self) -> Factory:
        return Factory.forProtocol(lambda: Session(self))

    def invite(self, name: str, host: str = "relay.example", port: int = 3000) -> Invitation:
        expiry = int(self.now()) + 3600
        made = Invitation.create(self.authority.relay_id, host, port, name, expiry)
        self.invitations[made.token] = made
        return made

    def deliver(self, body: bytes, sender: bytes = b"alice", seq: int | None = None) -> int:
        """Put a message into the one mailbox, and give it to whoever listens."""
        n = len(self.mailbox) + 1
        self.mailbox.append((n, sender, b"bob", b"s" * 22, seq or n, body))
        for session in self.sessions:
            session.push()
        return n

    def verbs(self, name: str) -> list[tuple[typing.Any, ...]]:
        return [said[1:] for said in self.said if said[0] == name]


class Session(Protocol):
    """One connection: the relay's host and verbs."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.connection = RelayConnection(relay.config, self, relay.clock.seconds)
        self.ending: End | None = None
        self.listening: int | None = None
        self.peer: Authenticated | None = None
        self.decoder = messages.relay_decoder(self)
        self.unsaid = bytearray()

    def connectionMade(self) -> None:
        self.relay.sessions.append(self)

    def dataReceived(self, data: bytes) -> None:
        if not self.relay.silent:
            self.connection.receive(data)

    def connectionLost(self, reason: object = None) -> None:
        self.connection.lost()
        self.relay.sessions.remove(self)

    # -- RelayHost

    def write(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    def find_ticket(self, ticket_id: bytes, verify: Callable[[bytes], None]) -> None:
        found = self.relay.tickets.pop(primitives.sha256(ticket_id), None)
        if found is not None:
            try:
                verify(found.psk)
            except RemoteError as error:
                self.connection.fail(error)
                return
        self.connection.ticket_found(found)

    def find_invitation(self, token: bytes) -> None:
        found = self.relay.invitations.get(token)
        self.connection.invitation_found(found.public_key if found else None)

    def sign(self, context: bytes, digest: bytes) -> None:
        self.connection.signed(primitives.sign_pss(rsa_key(index=RELAY_KEY), context, digest))

    def authenticated(self, peer: Authenticated) -> None:
        refusal = self.relay.ticket_refusal if peer.resumed else self.relay.refusal
        if refusal is not None:
            self.connection.refuse(refusal)
            return
        self.peer = peer
        self.relay.resumed.append(peer.resumed)
        self.welcome(peer.tickets)

    def enrolling(self, request: EnrolmentRequest) -> None:
        relay = self.relay
        if relay.refusal is not None:
            self.connection.refuse(relay.refusal)
            return
        key, der = relay.issued.get(request.token, (request.spki, b""))
        if key != request.spki:
            self.connection.refuse("token-used")
            return
        der = der or relay.issue(request.name, key)
        relay.issued[request.token] = key, der
        if relay.lose_certificate:
            relay.lose_certificate -= 1
            assert self.transport is not None
            self.transport.abortConnection()
            return
        self.welcome((), certificate=lines.encode(der))

    def rekeyed(self, tickets: tuple[NewTicket, ...]) -> None:
        self.relay.said.append(("rekey",))
        self.welcome(tickets)
        self.say(b"")

    def welcome(self, tickets: tuple[NewTicket, ...], **more: object) -> None:
        relay, peer = self.relay, self.peer
        expiry = int(relay.now()) + 3600
        for ticket in tickets:
            assert peer is not None
            relay.tickets[primitives.sha256(ticket.id)] = Resumption(
                ticket.psk, peer.name, peer.peer_spki, int(relay.now() * 1000), b""
            )
        said = {
            "time": int(relay.now() * 1000),
            "tickets": [[lines.encode(ticket.id), expiry] for ticket in tickets],
            "limits": relay.limits,
            "log": {},
        }
        self.connection.welcome(said | more)

    def data(self, content: bytes) -> None:
        self.relay.said.append(("data", len(content)))
        self.decoder.feed(content)

    def ended(self, end: End) -> None:
        self.ending = end
        assert self.transport is not None
        self.transport.loseConnection()

    def say(self, data: bytes) -> None:
        """Send, unless the keys are just being changed; then afterwards."""
        self.unsaid += data
        if self.connection.may_send and self.unsaid:
            said, self.unsaid = bytes(self.unsaid), bytearray()
            self.connection.send(said)

    def tell(self, kind: str, seq: int, peer: bytes) -> None:
        """Send an event about a message."""
        told = {"seq": seq, "peer": peer.decode(), "time": int(self.relay.now() * 1000)}
        self.say(messages.event(kind.encode(), json.dumps(told).encode()))

    # -- RelayVerbs

    def stream(self, stream: bytes, answered: int) -> None:
        self.relay.said.append(("stream", stream, answered))
        self.stream_id = stream
        last = self.relay.streams.setdefault(stream, 0)
        self.refused_at: int | None = None
        if answered > last:
            last = 0
            self.forgotten = True
        self.say(messages.stream(stream, last))
        for receipt in self.relay.receipts.pop(stream, []):
            self.say(messages.got(*receipt))
        for event in self.relay.events.pop(stream, []):
            self.tell(*event)
        if last > answered:
            self.say(messages.ok(last))

    def send(self, seq: int, to: bytes, ttl: int | None, receipt: bool, body: bytes) -> None:
        self.relay.said.append(("send", seq, to, ttl, receipt, body))
        last = self.relay.streams[self.stream_id]
        if seq <= last:
            self.say(messages.ok(seq))
            return
        code = self.relay.verdict(seq, to)
        if code is None and seq > last + 1:
            code = b"gap"
        if code in (b"hold", None) or code in (b"unknown", b"offline", b"mailbox-full"):
            self.relay.streams[self.stream_id] = seq
        if code is None:
            self.say(messages.ok(seq))
            if receipt and not self.relay.mute_receipts:
                self.say(messages.got(seq, to, int(self.relay.now() * 1000)))
        elif code != b"hold":
            self.say(messages.no(seq, code))

    def listen(self, after: int) -> None:
        self.relay.said.append(("listen", after))
        self.listening = after
        self.say(messages.listening(1, len(self.relay.mailbox)))
        self.push()

    def push(self) -> None:
        """Write what the listener has not seen."""
        if self.listening is None:
            return
        for n, sender, to, stream, seq, body in self.relay.mailbox:
            if n > self.listening:
                self.listening = n
                header = messages.msg_header(n, sender, to, stream, seq, 1000 + n, len(body))
                self.say(header + body)

    def ack(self, number: int) -> None:
        self.relay.said.append(("ack", number))

    def ping(self, token: bytes) -> None:
        self.relay.said.append(("ping",))
        self.say(messages.pong(token))

    def pong(self, token: bytes) -> None:
        self.relay.said.append(("pong", token))

    def call(self, tag: bytes, method: bytes, body: bytes) -> None:
        self.relay.said.append(("call", method, json.loads(body)))
        answer = self.relay.answers.get(method)
        if answer is None:
            self.say(messages.reply(tag, b"unknown-method", b"{}"))
            return
        try:
            said = answer(json.loads(body))
        except RemoteError as error:
            detail = json.dumps({"message": error.detail}).encode()
            self.say(messages.reply(tag, error.code.encode(), detail))
        else:
            self.say(messages.reply(tag, b"ok", json.dumps(said).encode()))
