"""A relay in memory with real protocol ends: tests say what clients say and read what they hear.

Only sockets and time are missing: the relay's transports are strings, its store keeps everything in
memory, and its clock is moved by hand.
"""

# More than 400 lines: a whole relay in memory, with everything that tests may hold up in it.

from __future__ import annotations

import dataclasses
import datetime
import json
import typing
from collections.abc import Callable

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from securerelay.crypto import primitives
from securerelay.identity.certificates import check_peer, check_relay
from securerelay.protocol import messages
from securerelay.protocol.connection import (
    ClientConfig,
    ClientConnection,
    ClientTicket,
    Credential,
    End,
    Enrolment,
    RelayConfig,
    Welcome,
)
from securerelay.protocol.hello import KnockMemory
from securerelay.relay.config import Config
from securerelay.relay.context import RelayContext
from securerelay.relay.inviting import Address, invite
from securerelay.relay.limits import Gate
from securerelay.relay.logging import EventLog
from securerelay.relay.wire import RelayFactory, RelayProtocol
from securerelay.store.memory import MemoryStore
from securerelay.store.rows import CertificateRow
from tests.keys import NOW, authority, rsa_key, spki

STREAM = b"s" * 22
OTHER_STREAM = b"t" * 22
RELAY_KEY = 50
STEP = 0.25
"""Seconds that pass at a time: the relay looks after its connections as often."""


def plainly(config: Config) -> Config:
    """Return a configuration by which nothing has to be sealed."""
    return config.replace(policy=dataclasses.replace(config.policy, require_sealed=False))


class AtOnce:
    """Runs what is slow at once."""

    def run(self, work: Callable[..., typing.Any], *args: typing.Any) -> Deferred[typing.Any]:
        return execute(work, *args)


class Told:
    """A logger that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, typing.Any]]] = []

    def emit(self, level: object, form: str, **event: typing.Any) -> None:
        self.events.append((event["event"], event["fields"]))

    def names(self) -> list[str]:
        return [name for name, _ in self.events]


class World:
    """One relay and its clients.

    Args:
        config: of the relay.
        store: of the relay.
        sealed: whether the configuration holds as to what has to be sealed; else nothing has to.
    """

    def __init__(
        self, config: Config | None = None, store: typing.Any = None, *, sealed: bool = False
    ) -> None:
        self.clock = Clock()
        self.store = MemoryStore() if store is None else store
        self.authority = authority()
        self.told = Told()
        self.guests: list[Guest] = []
        self.factory: RelayFactory
        self.config = config or Config()
        if not sealed:
            self.config = plainly(self.config)
        self.relay_certificate = self.authority.issue_relay("relay", spki(index=RELAY_KEY), NOW).der
        self.start()

    def start(self) -> None:
        """Start the relay, or start it again on the same store."""
        epoch = done(self.store.open()).epoch
        ca = self.authority
        self.context = RelayContext(
            reactor=self.clock,
            config=self.config,
            handshake=RelayConfig(
                ca.relay_id,
                ca.spki,
                self.relay_certificate,
                lambda der: check_peer(ca.public_key, der),
                KnockMemory(),
                groups=("x25519mlkem768", "x25519"),
            ),
            store=self.store,
            epoch=epoch,
            sign=lambda context, digest: primitives.sign_pss(
                rsa_key(index=RELAY_KEY), context, digest
            ),
            issue=self.issue,
            pool=AtOnce(),
            gate=Gate(self.config.limits, self.clock.seconds, lambda: 1.0),
            log=EventLog(1000, self.clock.seconds, typing.cast(typing.Any, self.told)),
            address=lambda: Address("relay.example", 3000),
            wall=self.wall,
        )
        # The CPU of the machine that runs the tests has no part in them.
        self.context.gate.cpu._cpu_seconds = self.clock.seconds
        self.router = self.context.router
        self.router.start()
        self.context.keylog.changed()
        self.factory = RelayFactory(self.context)
        self.factory.doStart()

    def crash(self) -> None:
        """The process ends without a word and starts again; the store keeps what it holds."""
        for guest in self.guests:
            guest.gone = True
        self.guests.clear()
        done(self.store.close())
        self.clock.calls.clear()
        self.start()

    def wall(self) -> float:
        return NOW.timestamp() + self.clock.seconds()

    def date(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self.wall(), datetime.timezone.utc)

    def issue(self, name: str, key: bytes) -> CertificateRow:
        issued = self.authority.issue_peer(name, key, self.date())
        return CertificateRow(
            name,
            issued.der,
            issued.sha256,
            key,
            issued.serial,
            int(issued.not_after.timestamp() * 1000),
            int(self.wall() * 1000),
        )

    def invite(self, name: str, roles: tuple[str, ...] = ()) -> typing.Any:
        """Invite a newcomer as the administrator."""
        address = Address("relay.example", 3000)
        now = self.context.now()
        making = invite(self.store, self.authority.relay_id, address, name, now, 3600, roles=roles)
        return done(Deferred.fromCoroutine(making))

    def enrol(self, name: str, key: int = 0, roles: tuple[str, ...] = ()) -> CertificateRow:
        """Enter a peer in the directory."""
        row = self.issue(name, spki(index=key))
        token = self.invite(name, roles).token
        certificate = done(self.store.consume(token, row, self.context.now())).certificate
        self.context.keylog.changed()
        return certificate

    def connect(
        self, credential: Credential | Enrolment, ticket: ClientTicket | None = None
    ) -> Guest:
        """Connect as anybody, and let the handshake run."""
        guest = Guest(self, credential, ticket)
        self.guests.append(guest)
        self.run()
        return guest

    def join(self, name: str, key: int = 0, *, ticket: ClientTicket | None = None) -> Guest:
        """Connect as a peer, which is enrolled first if need be."""
        row = done(self.store.lookup(name))
        certificate = self.enrol(name, key) if row is None else row.certificate
        return self.connect(credential(certificate.der, key), ticket)

    def run(self, seconds: float = 0.0) -> None:
        """Let time pass, and bytes flow until none are left."""
        while seconds > STEP:
            self.run(STEP)
            seconds -= STEP
        self.clock.advance(seconds)
        while True:
            moved = [guest.move() for guest in list(self.guests)]
            due = self.clock.calls and self.clock.calls[0].getTime() <= self.clock.seconds()
            if not any(moved) and not due:
                return
            self.clock.advance(0)


def credential(certificate: bytes, key: int) -> Credential:
    return Credential(
        certificate,
        lambda context, digest: primitives.sign_pss(rsa_key(index=key), context, digest),
    )


def done(answer: Deferred[typing.Any]) -> typing.Any:
    """The result of a Deferred that has fired."""
    got: list[typing.Any] = []
    answer.addBoth(got.append)
    assert got, "not answered yet"
    if isinstance(got[0], Failure):
        got[0].raiseException()
    return got[0]


class Pipe(StringTransport):
    """The relay's side of a connection."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        self.disconnecting = True


class Guest:
    """A client that says what it is told to, and keeps what it hears.

    ``heard`` has one tuple for each message; ``ends`` how the connection ended; ``welcomes`` what
    the relay said when it let the client in.
    """

    def __init__(
        self, world: World, credential: Credential | Enrolment, ticket: ClientTicket | None
    ) -> None:
        self.world = world
        self.heard: list[tuple[typing.Any, ...]] = []
        self.ends: list[End] = []
        self.welcomes: list[Welcome] = []
        self.deaf = False
        self.gone = False
        self._out: list[bytes] = []
        self._decoder = messages.client_decoder(self, 1 << 26)
        ca = world.authority
        config = ClientConfig(
            relay_id=ca.relay_id,
            check_relay=lambda key, der: check_relay(key, der, now=world.date()),
            credential=credential,
            ticket=ticket,
        )
        self.connection = ClientConnection(config, self, world.clock.seconds)
        self.wire: RelayProtocol = world.factory.buildProtocol(None)
        self.pipe = Pipe()
        self.wire.makeConnection(self.pipe)
        self.connection.start()

    # --- the network ---

    def move(self) -> bool:
        """Carry what either side has written; tell whether there was anything."""
        if self.gone:
            return False
        moved = False
        if self._out and self.pipe.producerState == "producing":
            data, self._out = b"".join(self._out), []
            self.wire.dataReceived(data)
            moved = True
        if not self.deaf and self.pipe.value():
            data = self.pipe.value()
            self.pipe.clear()
            self.connection.receive(data)
            moved = True
        if self.pipe.aborted or (self.pipe.disconnecting and not self.pipe.value()):
            self.drop()
            self.connection.lost()
            return True
        return moved

    def drop(self) -> None:
        """The connection breaks."""
        if not self.gone:
            self.gone = True
            self.wire.connectionLost(Failure(ConnectionError()))

    # --- what it says ---

    def say(self, *said: bytes) -> None:
        """Say messages, and let everything run."""
        self.mumble(*said)
        self.world.run()

    def mumble(self, *said: bytes) -> None:
        """Say messages; nobody has heard them yet."""
        self.connection.send(b"".join(said))

    def open(self, stream: bytes = STREAM, answered: int = 0) -> None:
        self.say(messages.stream(stream, answered))

    def attend(self, after: int = 0) -> None:
        self.say(messages.listen(after))

    def send(self, seq: int, to: bytes, body: bytes = b"hello", **more: typing.Any) -> None:
        ttl, receipt = more.get("ttl"), more.get("receipt", False)
        self.say(messages.send(seq, to, ttl, receipt, body))

    def call(self, method: str, **parameters: typing.Any) -> tuple[str, typing.Any]:
        """Call a control method; returns status and answer."""
        self.heard = [said for said in self.heard if said[0] != "reply"]
        self.say(messages.call(b"1", method.encode(), json.dumps(parameters).encode()))
        (reply,) = self.of("reply")
        return reply[1].decode(), json.loads(reply[2] or b"{}")

    # --- what it hears ---

    def of(self, verb: str) -> list[tuple[typing.Any, ...]]:
        """What it heard of one verb, each without the verb."""
        return [heard[1:] for heard in self.heard if heard[0] == verb]

    def bodies(self) -> list[bytes]:
        """The bodies of the messages it got."""
        return [message[-1] for message in self.of("msg")]

    def take(self) -> list[tuple[typing.Any, ...]]:
        """What it heard since the last time."""
        heard, self.heard = self.heard, []
        return heard

    @property
    def end(self) -> str:
        """How the connection ended, or nothing if it did not."""
        return self.ends[0].code if self.ends else ""

    # --- ClientHost and ClientVerbs ---

    def write(self, data: bytes) -> None:
        self._out.append(data)

    def data(self, content: bytes) -> None:
        self._decoder.feed(content)

    def welcome(self, welcome: Welcome) -> None:
        self.welcomes.append(welcome)

    def ended(self, end: End) -> None:
        self.ends.append(end)

    def ping(self, token: bytes) -> None:
        self.heard.append(("ping", token))
        self.connection.send(messages.pong(token))

    def __getattr__(self, verb: str) -> typing.Any:
        if verb not in (
            "stream",
            "ok",
            "no",
            "listen",
            "msg",
            "got",
            "stopped",
            "pong",
            "reply",
            "event",
        ):
            raise AttributeError(verb)
        return lambda *said: self.heard.append((verb, *said))


class Slow:
    """A store that answers some questions only when a test lets it.

    It looks when it answers; what is named in ``stale`` it looked up when it was asked.

    Args:
        slow: the operations that wait.
    """

    def __init__(self, *slow: str) -> None:
        self.store = MemoryStore()
        self.slow = set(slow)
        self.stale: set[str] = set()
        self.waiting: list[tuple[str, Deferred[typing.Any], Callable[[], typing.Any]]] = []
        self.asked: list[tuple[str, tuple[typing.Any, ...]]] = []
        self.error: Exception | None = None

    def __getattr__(self, name: str) -> typing.Any:
        operation = getattr(self.store, name)

        def ask(*args: typing.Any, **more: typing.Any) -> Deferred[typing.Any]:
            self.asked.append((name, args))
            if name not in self.slow:
                return operation(*args, **more)
            answer: Deferred[typing.Any] = Deferred()
            if name in self.stale:
                found = operation(*args, **more)
                self.waiting.append((name, answer, lambda: found))
            else:
                self.waiting.append((name, answer, lambda: operation(*args, **more)))
            return answer

        return ask

    def count(self, name: str) -> int:
        """How often an operation was asked for."""
        return sum(1 for asked, _ in self.asked if asked == name)

    def written(self) -> list[tuple[int, ...]]:
        """The seqs of every batch that was given to append."""
        return [
            tuple(item.seq for item in args[0]) for name, args in self.asked if name == "append"
        ]

    def answer(self, error: Exception | None = None) -> None:
        """Answer the oldest question that waits, or fail it."""
        _, answer, work = self.waiting.pop(0)
        if error is not None:
            answer.errback(error)
        else:
            work().chainDeferred(answer)
