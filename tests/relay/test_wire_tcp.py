"""The relay's side of a TCP connection: written at once, kept in order, ended when all is said."""

from __future__ import annotations

import types
import typing

import pytest
from twisted.internet import tcp
from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv4Address
from twisted.internet.testing import MemoryReactorClock

from securerelay.relay.wire import LINGER, RelayProtocol
from tests.relay.world import World


class Socketless(tcp.Connection):
    """Twisted's TCP transport, buffers and all, over a socket that takes what a test lets it."""

    def __init__(self, reactor: typing.Any) -> None:
        FileDescriptor.__init__(self, reactor)
        self.socket = types.SimpleNamespace(send=self.writeSomeData)
        self.connected = True
        self.room = 1 << 30
        self.taken = b""
        self.writes = 0
        self.aborted = False

    def fileno(self) -> int:
        return 99

    def writeSomeData(self, data: bytes) -> int:
        self.writes += 1
        sent = bytes(data[: self.room])
        self.room -= len(sent)
        self.taken += sent
        return len(sent)

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.1", 1)

    def abortConnection(self) -> None:
        self.aborted = True

    def _closeWriteConnection(self) -> None:
        self.half_closed = True

    half_closed = False


@pytest.fixture
def tcp_end() -> tuple[RelayProtocol, Socketless, typing.Any]:
    world = World()
    reactor = MemoryReactorClock()
    transport = Socketless(reactor)
    wire = world.factory.buildProtocol(None)
    wire.makeConnection(transport)
    return wire, transport, reactor


def test_bytes_go_to_an_idle_socket_at_once(
    tcp_end: tuple[RelayProtocol, Socketless, typing.Any],
) -> None:
    wire, transport, reactor = tcp_end
    wire.write(b"abc")
    assert transport.taken == b"abc"
    assert reactor.writers == set()
    assert wire._blocked is None


def test_what_a_socket_does_not_take_waits_and_keeps_its_order(
    tcp_end: tuple[RelayProtocol, Socketless, typing.Any],
) -> None:
    wire, transport, _reactor = tcp_end
    transport.room = 2
    wire.write(b"abc")
    assert not wire.ready
    wire.write(b"def")
    assert transport.taken == b"ab"
    transport.room = 1 << 30
    transport.doWrite()
    assert transport.taken == b"abcdef"
    assert wire._blocked is None
    wire.write(b"ghi")
    assert transport.taken == b"abcdefghi"


def test_the_end_waits_for_what_was_written_and_then_half_closes(
    tcp_end: tuple[RelayProtocol, Socketless, typing.Any],
) -> None:
    wire, transport, _reactor = tcp_end
    transport.room = 2
    wire.dataReceived(b"nonsense\n")
    assert not transport.half_closed
    transport.room = 1 << 30
    transport.doWrite()
    if not transport.half_closed:
        transport.doWrite()
    assert transport.taken == b"SR1 ERR code=bad-line\n"
    assert transport.half_closed
    assert not transport.aborted
    wire.context.reactor.advance(LINGER)
    assert transport.aborted
