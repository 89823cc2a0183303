"""The door: who shows no knock is sent away before Twisted hears of it, the others are let in."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest
from twisted.internet import tcp, unix
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock

from securerelay.protocol import hello, lines
from securerelay.relay.config import Config, Tls
from securerelay.relay.door import A_TURN, Door
from securerelay.relay.limits import CpuShare
from securerelay.relay.listening import Listeners
from securerelay.relay.tls import OwnCertificate
from tests.relay.test_wire import Stranger, limited
from tests.relay.world import World

BEFORE = b"SR1 HELLO suites=aes256gcm groups=x25519 nonce=" + b"A" * 43


class Said:
    """An accepted socket on which something has come."""

    def __init__(self, said: bytes | None) -> None:
        self.waits = said
        self.answer = b""
        self.closed = self.reset = False

    def recv(self, size: int, flags: int) -> bytes:
        assert flags & socket.MSG_DONTWAIT
        if self.waits is None:
            raise BlockingIOError
        said = self.waits[:size]
        if not flags & socket.MSG_PEEK:
            self.waits = self.waits[size:]
        return said

    def send(self, data: bytes, flags: int) -> int:
        assert flags & socket.MSG_DONTWAIT
        self.answer += data
        return len(data)

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_LINGER)
        self.reset = struct.unpack("ii", value) == (1, 0)

    def __enter__(self) -> Said:
        return self

    def __exit__(self, *error: object) -> None:
        self.closed = True


class Listening:
    """A listening socket with its queue."""

    def __init__(self, *queue: Said) -> None:
        self.queue = [(wire, (f"192.0.2.{n % 250}", n)) for n, wire in enumerate(queue)]

    def accept(self) -> tuple[Said, tuple[str, int]]:
        if not self.queue:
            raise BlockingIOError
        return self.queue.pop(0)

    def fileno(self) -> int:
        return 7


def let_in(world: World, *queue: Said) -> list[Said]:
    """Have the door accept until nobody is there or others have their turn."""
    door, taken = Door(Listening(*queue), world.context), []  # type: ignore[arg-type]
    try:
        while True:
            taken.append(door.accept()[0])
    except BlockingIOError:
        return taken  # type: ignore[return-value]


def to(world: World, before: bytes = BEFORE) -> bytes:
    key = hello.knock_key(world.context.handshake.relay_id)
    return before + b" to=" + lines.encode(hello.knock(key, before)).encode() + b"\n"


NO_KNOCKS = [
    b"\n",
    b"noise\n",
    b"SR1 AUTH A\n",
    BEFORE + b"\n",
    BEFORE + b" to=\n",
    BEFORE + b" to=" + lines.encode(bytes(16)).encode() + b"\n",
]


@pytest.mark.parametrize("said", NO_KNOCKS)
def test_a_whole_line_without_the_knock_is_answered_as_a_connection_answers(said: bytes) -> None:
    world, other = World(), World()
    wire, stranger = Said(said), Stranger(other)
    stranger.say(said)
    stranger.leave()
    assert let_in(world, wire) == []
    assert wire.answer == stranger.pipe.value() != b""
    assert wire.waits == b"", "what is not read would reset the answer"
    assert (wire.closed, wire.reset) == (True, False)
    assert world.told.names() == other.told.names() == ["handshake.failed"]
    assert [fields["detail"] for _, fields in world.told.events] == [
        fields["detail"] for _, fields in other.told.events
    ]
    gates = world.context.gate, other.context.gate
    assert gates[0].failures == gates[1].failures
    assert gates[0].unauthenticated == 0
    penalties = [next(iter(gate._penalties.values())) for gate in gates]
    assert [one.until for one in penalties] == [5, 5]


LONGEST = b"A" * (lines.MAX_LINE - 1) + b"\n"


@pytest.mark.parametrize(
    "said",
    [None, b"", BEFORE, b"noise\nmore", b"noise\n\n", b"no\x80ise\n", b"noise\r\n", LONGEST],
)
def test_who_has_not_said_one_whole_line_is_let_in_with_every_byte(said: bytes | None) -> None:
    world, wire = World(), Said(said)
    assert let_in(world, wire) == [wire]
    assert (wire.waits, wire.answer, wire.closed) == (said, b"", False)
    assert world.told.names() == []


def test_who_knocks_is_let_in_with_every_byte_and_its_knock_is_still_new() -> None:
    world = World()
    wire = Said(to(world))
    assert let_in(world, Said(b"noise\n"), wire) == [wire]
    assert wire.waits == to(world)
    key = hello.knock_key(world.context.handshake.relay_id)
    knock = hello.check_knock(to(world)[:-1], key)
    assert world.context.handshake.knocks.first(knock, 0.0)


def test_a_source_under_a_penalty_gets_no_word_and_no_line() -> None:
    world = World()
    for _ in range(3):
        world.context.gate.penalise("192.0.2.0", "failed")
    wire = Said(b"noise\n")
    assert let_in(world, wire) == []
    assert (wire.answer, wire.closed, wire.reset) == (b"", True, True)
    assert world.told.names() == []
    assert world.context.gate.refusals == {"penalty": 1}


def test_offences_at_the_door_and_behind_it_add_up() -> None:
    world = World()
    for _ in range(2):
        let_in(world, Said(b"noise\n"))
    wire = Said(b"noise\n")
    let_in(world, wire)
    assert wire.answer
    assert world.told.names()[-1] == "source.penalised"
    assert world.context.gate.penalties() == {"192.0.2.0": 15}


def test_a_source_with_all_its_places_taken_gets_none_by_noise() -> None:
    world = limited(unauthenticated_per_source=1)
    world.context.gate.arrived("192.0.2.0")
    wire = Said(b"noise\n")
    assert let_in(world, wire) == []
    assert (wire.answer, wire.reset) == (b"", True)


def test_others_have_their_turn_while_a_crowd_is_sent_away() -> None:
    world = World()
    knocking = Said(to(world))
    crowd = [Said(b"noise\n") for _ in range(A_TURN)]
    listening = Listening(*crowd, knocking)
    door = Door(listening, world.context)  # type: ignore[arg-type]
    with pytest.raises(BlockingIOError, match="turn"):
        door.accept()
    assert len(listening.queue) == 1
    assert door.accept()[0] is knocking  # type: ignore[comparison-overlap]


def test_strangers_at_the_door_have_no_more_of_the_processor_than_others() -> None:
    world = World()
    spent = iter(range(100))  # each look at the clock is a second later
    world.context.gate.cpu = CpuShare(40, world.clock.seconds, lambda: next(spent))
    first, second, knocking = Said(b"noise\n"), Said(b"noise\n"), Said(to(world))
    assert let_in(world, first) == []
    wait = world.context.gate.cpu.wait()
    assert let_in(world, second, knocking) == [knocking], "who knows the relay is let in"
    assert world.context.gate.cpu.wait() == wait > 0, "and need not wait for what floods cost"
    assert (bool(first.answer), first.reset) == (True, False)
    assert (bool(second.answer), second.reset, second.closed) == (False, True, True)
    assert world.told.names() == ["handshake.failed"]
    assert world.context.gate.refusals == {"share": 1}
    world.clock.advance(10)
    wire = Said(b"noise\n")
    assert let_in(world, wire) == []
    assert wire.answer, "their share has grown again"


def test_all_else_is_the_sockets_own() -> None:
    assert Door(Listening(), World().context).fileno() == 7  # type: ignore[arg-type]


class Ports(MemoryReactorClock):
    """A reactor whose ports are Twisted's, with nothing behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.ports: list[Any] = []

    def _take(self, port: Any, host: object) -> Any:
        port.socket, port.getHost = "socket", lambda: host
        self.ports.append(port)
        return port

    def listenTCP(self, port: int, factory: Any, *_: Any, **__: Any) -> Any:
        return self._take(tcp.Port(port, factory), IPv4Address("TCP", "192.0.2.1", port))

    def listenUNIX(self, address: str, factory: Any, *_: Any, **__: Any) -> Any:
        return self._take(unix.Port(address.encode(), factory), UNIXAddress(address))


def test_only_what_comes_over_tcp_with_nothing_around_it_goes_through_the_door() -> None:
    reactor = Ports()
    config = Config(
        listen=("tcp:3000", "unix:/run/x.sock", "haproxy:tcp:3001"), tls=Tls(listen=("tcp:3002",))
    )
    places = Listeners(reactor, config, OwnCertificate())
    places.take_ports()
    Deferred.fromCoroutine(places.open(Factory(), lambda wire: ("door", wire)))
    plain, wrapped, local, proxied = reactor.ports
    assert plain.socket == ("door", "socket")
    assert (wrapped.socket, local.socket, proxied.socket) == ("socket", "socket", "socket")
