"""Channels over connections: what the listening and the joining program see."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from securerelay.channel.pipe import UNREAD, Pipe
from securerelay.channel.wire import HANDSHAKE, STRANGERS, Listener, connect_guest
from securerelay.errors import AuthenticationFailed, ConnectError, SecureRelayError, TimedOut
from securerelay.identity.invitation import Invitation
from tests.channel.ends import OTHER_CA_KEY, make_guest, make_host
from tests.network import Network, outcome


class Port:
    """A listening port of which only the end matters."""

    open = True

    def stopListening(self) -> None:
        self.open = False


class Place:
    """A listener, and the network that leads to it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.listener = Listener(self.clock)
        self.port = Port()
        self.host = make_host(self.listener.established)
        self.listener.serve(self.host, self.port)
        self.network = Network(self.listener.factory())

    def join(self, invitation: str | None = None) -> Deferred[Pipe]:
        guest = make_guest(Invitation.parse(invitation or self.listener.invitation))
        joining = Deferred.fromCoroutine(connect_guest(guest, self.network, self.clock))
        self.network.run()
        return joining

    def pipes(self) -> tuple[Pipe, Pipe]:
        joining = self.join()
        host, guest = outcome(self.listener.accept()), outcome(joining)
        assert isinstance(host, Pipe)
        assert isinstance(guest, Pipe)
        return host, guest


def test_the_guest_joins_and_nothing_listens_any_more():
    place = Place()
    host, guest = place.pipes()
    assert host.fingerprint == guest.fingerprint
    assert not place.port.open
    guest.write(b"ping")
    place.network.run()
    assert outcome(host.read()) == b"ping"


def test_reading_by_async_for_stops_when_the_other_end_closes():
    place = Place()
    host, guest = place.pipes()

    async def everything() -> bytes:
        return b"".join([chunk async for chunk in host])

    reading = Deferred.fromCoroutine(everything())
    guest.write(b"one ")
    place.network.run()
    guest.write(b"two")
    guest.close()
    place.network.run()
    assert outcome(reading) == b"one two"


def test_a_cut_connection_raises_while_reading():
    place = Place()
    host, _ = place.pipes()
    reading = host.read()
    place.network.cut()
    assert isinstance(outcome(reading), ConnectError)


def test_joining_the_wrong_host_is_an_authentication_error_and_the_listener_waits_on():
    place = Place()
    other = make_host(lambda pipe: None, OTHER_CA_KEY)
    failed = outcome(place.join(other.invitation.uri()))
    assert isinstance(failed, AuthenticationFailed)
    assert isinstance(outcome(place.join()), Pipe)


def test_a_stranger_who_says_nothing_is_sent_away_in_time():
    place = Place()
    wire = place.listener.factory().buildProtocol(None)
    transport = StringTransport()
    wire.makeConnection(transport)
    place.clock.advance(HANDSHAKE + 0.1)
    assert transport.disconnecting
    assert transport.value() == b"SR1 ERR code=timeout\n"


def test_only_so_many_strangers_at_a_time():
    place = Place()
    wires = []
    for _ in range(STRANGERS + 1):
        wire = place.listener.factory().buildProtocol(None)
        wire.makeConnection(StringTransport())
        wires.append(wire)
    assert [wire.transport.disconnected for wire in wires] == [False] * STRANGERS + [True]


def test_when_nobody_comes_accept_says_so_and_stops_listening():
    place = Place()
    waiting = place.listener.accept(timeout=5)
    place.clock.advance(5)
    assert isinstance(outcome(waiting), TimedOut)
    assert not place.port.open


def test_a_host_that_does_not_answer_is_a_connection_error():
    place = Place()
    place.network.factory = SilentFactory()
    joining = place.join()
    place.clock.advance(HANDSHAKE + 0.1)
    assert isinstance(outcome(joining), ConnectError)


class SilentFactory:
    def buildProtocol(self, address: object) -> Protocol:
        return Protocol()


def test_a_reader_that_is_slow_stops_the_other_end_and_not_its_memory():
    place = Place()
    host, guest = place.pipes()
    server = place.network.pumps[-1].server
    held: list[bool] = []
    server.hold = held.append
    for _ in range(3):
        guest.write(bytes(UNREAD // 2))
        place.network.run()
    assert held == [True]
    while host._unread:
        host.read()
    assert held == [True, False]


def test_writing_waits_while_the_transport_is_full():
    place = Place()
    _, guest = place.pipes()
    wire = place.network.pumps[-1].client
    wire.pauseProducing()
    writing = guest.write(b"x")
    assert not writing.called
    wire.resumeProducing()
    assert writing.called


def test_a_twisted_protocol_runs_over_a_pipe():
    place = Place()
    host, guest = place.pipes()

    class Echo(Protocol):
        ended: list[str] = []

        def dataReceived(self, data: bytes) -> None:
            assert self.transport is not None
            self.transport.write(data.upper())

        def connectionLost(self, reason=None) -> None:
            self.ended.append(reason.type.__name__)

    guest.write(b"early ")
    place.network.run()
    host.attach(Echo())
    guest.write(b"late")
    place.network.run()
    assert outcome(guest.read()) == b"EARLY "
    assert outcome(guest.read()) == b"LATE"
    guest.close()
    place.network.run()
    assert Echo.ended == ["ConnectionDone"]


@pytest.mark.parametrize(
    "line", [b"GET / HTTP/1.0\r\n", b"SR1 HELLO\n", b"\x16\x03\x01\x00\xa5\x01"]
)
def test_foreign_protocols_get_one_line_and_no_pipe(line):
    place = Place()
    wire = place.listener.factory().buildProtocol(None)
    transport = StringTransport()
    wire.makeConnection(transport)
    wire.dataReceived(line)
    assert transport.value() == b"SR1 ERR code=bad-line\n"
    assert transport.disconnecting
    assert not isinstance(outcome(place.listener.accept()), (Pipe, SecureRelayError))


def test_a_protocol_over_a_pipe_is_paused_when_the_other_end_is_slow():
    place = Place()
    _, guest = place.pipes()
    told: list[str] = []

    class Producer:
        def pauseProducing(self) -> None:
            told.append("pause")

        def resumeProducing(self) -> None:
            told.append("resume")

        def stopProducing(self) -> None:
            told.append("stop")

    idle = Protocol()
    guest.attach(idle)
    assert idle.transport is not None
    idle.transport.registerProducer(Producer(), True)
    wire = place.network.pumps[-1].client
    wire.pauseProducing()
    wire.resumeProducing()
    idle.transport.unregisterProducer()
    wire.pauseProducing()
    assert told == ["pause", "resume"]


def test_a_protocol_over_a_pipe_sends_a_file_and_hangs_up():
    import io

    from twisted.protocols.basic import FileSender

    place = Place()
    host, guest = place.pipes()
    sender = Protocol()
    guest.attach(sender)
    body = bytes(range(256)) * 400
    sending = FileSender().beginFileTransfer(io.BytesIO(body), sender.transport)
    sending.addCallback(lambda _: sender.transport.loseConnection())
    place.network.run()

    async def everything() -> bytes:
        return b"".join([chunk async for chunk in host])

    assert outcome(Deferred.fromCoroutine(everything())) == body


def test_a_protocol_that_aborts_looks_cut_to_the_other_end():
    place = Place()
    host, guest = place.pipes()
    rude = Protocol()
    guest.attach(rude)
    reading = host.read()
    rude.transport.abortConnection()
    place.network.run()
    assert isinstance(outcome(reading), ConnectError)
