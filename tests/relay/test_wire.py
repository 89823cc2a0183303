"""The relay's side of a connection: deadlines, heartbeats, bounded buffers, and how it closes."""

from __future__ import annotations

import dataclasses
import types
from collections import Counter
from unittest.mock import Mock

from twisted.internet import main
from twisted.python.failure import Failure

from securerelay.protocol import messages
from securerelay.relay.config import Config, Limits
from securerelay.relay.wire import AT_ONCE, BEAT, BEATS, LINGER, RelayProtocol
from tests.relay.world import Guest, Pipe, Slow, World, credential

SOON = 0.01


class Stranger:
    """Somebody without credentials."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.pipe = Pipe()
        self.wire: RelayProtocol = world.factory.buildProtocol(None)
        self.wire.makeConnection(self.pipe)

    def say(self, data: bytes) -> None:
        self.wire.dataReceived(data)

    def leave(self) -> None:
        self.wire.connectionLost(Failure(main.CONNECTION_DONE))


def limited(**limits: int) -> World:
    return World(Config(limits=dataclasses.replace(Limits(), **limits)))


def hello(world: World) -> bytes:
    """The first line of a peer."""
    guest = Guest(world, credential(world.enrol("newcomer").der, 0), None)
    guest.wire.connectionLost(Failure(main.CONNECTION_DONE))
    return b"".join(guest._out)


def test_who_says_nothing_is_told_so_after_five_seconds_and_cut() -> None:
    world = World()
    stranger = Stranger(world)
    world.clock.advance(4.9)
    assert stranger.pipe.value() == b""
    world.clock.advance(0.2)
    assert stranger.pipe.value() == b"SR1 ERR code=timeout\n"
    assert stranger.pipe.disconnecting
    assert not stranger.pipe.aborted
    world.clock.advance(LINGER)
    assert stranger.pipe.aborted


def test_bytes_do_not_extend_the_deadline_of_the_handshake() -> None:
    world = World()
    stranger = Stranger(world)
    for _ in range(9):
        world.clock.advance(1)
        stranger.say(b"S")
    assert not stranger.pipe.disconnecting
    world.clock.advance(1.1)
    assert stranger.pipe.disconnecting
    assert stranger.pipe.value().startswith(b"SR1 ERR code=")


def test_a_handshake_that_stops_halfway_is_cut_ten_seconds_after_accept() -> None:
    world = World()
    stranger = Stranger(world)
    world.clock.advance(1)
    stranger.say(hello(world))
    assert stranger.pipe.value().startswith(b"SR1 HELLO")
    stranger.pipe.clear()
    world.clock.advance(8.9)
    assert not stranger.pipe.disconnecting
    world.clock.advance(0.2)
    assert stranger.pipe.value() == b"SR1 ERR code=timeout\n"


def test_a_peer_has_no_deadline() -> None:
    world = World()
    alice = world.join("alice")
    world.run(60)
    assert alice.end == ""


def test_nonsense_gets_one_line_and_leaves_one_line_in_the_log() -> None:
    world = World()
    stranger = Stranger(world)
    stranger.say(b"GET / HTTP/1.1\r\n\r\n")
    assert stranger.pipe.value() == b"SR1 ERR code=bad-line\n"
    stranger.say(b"more nonsense\n" * 1000)
    stranger.leave()
    world.clock.advance(60)
    assert stranger.pipe.value() == b"SR1 ERR code=bad-line\n"
    assert world.told.names() == ["handshake.failed"]


def test_who_connects_and_leaves_is_not_worth_a_line() -> None:
    world = World()
    Stranger(world).leave()
    assert world.told.names() == []
    assert world.context.gate.unauthenticated == 0


def test_strangers_are_counted_until_they_leave_or_become_peers() -> None:
    world = World()
    gate = world.context.gate
    stranger, alice = Stranger(world), world.join("alice")
    assert gate.unauthenticated == 1
    stranger.leave()
    assert gate.unauthenticated == 0
    alice.drop()
    assert gate.unauthenticated == 0


def test_too_many_strangers_are_closed_without_a_word() -> None:
    world = limited(unauthenticated_per_source=2)
    strangers = [Stranger(world) for _ in range(3)]
    assert [stranger.pipe.aborted for stranger in strangers] == [False, False, True]
    assert strangers[2].pipe.value() == b""
    strangers[2].leave()
    assert world.context.gate.unauthenticated == 2
    assert world.told.names() == []


def test_who_holds_a_place_without_a_knock_loses_it_and_who_knocks_does_not() -> None:
    world = limited(unauthenticated=2)
    line = hello(world)
    knocker = Stranger(world)
    knocker.say(line)
    idler = Stranger(world)
    assert idler.pipe.aborted is False
    newcomer = Stranger(world)
    assert [one.pipe.aborted for one in (knocker, idler, newcomer)] == [False, True, False]
    assert idler.pipe.value() == b""
    idler.leave()
    newcomer.leave()
    knocker.leave()
    assert world.context.gate.unauthenticated == 0
    assert world.told.names() == []


def test_offences_add_up_until_the_source_is_refused() -> None:
    world = World()
    for _ in range(3):
        offender = Stranger(world)
        offender.say(b"nonsense\n")
        offender.leave()
    assert Stranger(world).pipe.aborted
    assert world.told.names() == ["handshake.failed"] * 3 + ["source.penalised"]
    assert world.context.gate.failures == {"bad-line": 3}
    world.clock.advance(16)
    assert not Stranger(world).pipe.aborted


def test_handshakes_wait_while_strangers_have_used_up_their_share_of_the_cpu() -> None:
    world = World()
    line = hello(world)
    world.context.gate.cpu.charge(1.0)
    stranger = Stranger(world)
    stranger.say(line)
    assert stranger.pipe.value() == b""
    assert stranger.pipe.producerState == "paused"
    world.clock.advance(3)
    assert stranger.pipe.value().startswith(b"SR1 HELLO")
    assert stranger.pipe.producerState == "producing"


def test_who_goes_on_talking_while_it_is_judged_is_not_read_but_heard_later() -> None:
    store = Slow()
    world = World(store=store)
    world.enrol("alice")
    store.slow = {"lookup"}
    row = world.store.store._peers["alice"].certificate
    alice = world.connect(credential(row.der, 0))
    alice.connection.send(messages.ping(b"early"))
    world.run()
    assert alice.pipe.producerState == "paused"
    store.answer()
    world.run()
    assert alice.pipe.producerState == "producing"
    assert alice.of("pong") == [(b"early",)]


def test_what_waits_for_the_strangers_share_comes_before_what_is_read_once_its_peer_is_in() -> None:
    store = Slow("lookup")
    world = World(store=store)
    alice = world.connect(credential(world.enrol("alice").der, 0))
    world.context.gate.cpu.charge(4.0)
    alice.mumble(messages.ping(b"first"))
    alice.move()
    store.answer()
    alice.say(messages.ping(b"second"))
    assert alice.of("pong") == [(b"first",), (b"second",)]
    world.run(20)
    alice.say(messages.ping(b"third"))
    assert alice.of("pong")[2:] == [(b"third",)]


def test_what_waits_for_the_strangers_share_comes_before_what_is_read_when_there_is_some() -> None:
    world = World()
    stranger, line = Stranger(world), hello(world)
    world.context.gate.cpu.charge(4.0)
    stranger.say(line[:1000])
    world.context.gate.cpu.charge(-4.0)
    stranger.say(line[1000:])
    assert stranger.pipe.value().startswith(b"SR1 HELLO")
    stranger.leave()


def test_a_connection_that_is_lost_while_the_store_looks_harms_nobody() -> None:
    store = Slow()
    world = World(store=store)
    world.enrol("alice")
    store.slow = {"lookup"}
    row = world.store.store._peers["alice"].certificate
    alice = world.connect(credential(row.der, 0))
    alice.drop()
    store.answer()
    world.run(60)
    assert list(world.router.sessions) == []
    assert world.context.gate.unauthenticated == 0
    assert "connection.failed" not in world.told.names()


def test_a_peer_that_takes_nothing_for_half_a_minute_is_cut_and_its_mail_stays() -> None:
    world = World()
    alice, bob = world.join("alice"), world.join("bob")
    alice.open()
    bob.attend()
    bob.deaf = True
    bob.wire.pauseProducing()
    alice.send(1, b"bob")
    world.run(50)
    assert bob.pipe.aborted
    again = world.join("bob")
    again.attend()
    assert again.bodies() == [b"hello"]


def test_a_cut_connection_is_told_apart_from_an_orderly_end() -> None:
    world = World()
    first, second = world.join("alice"), world.join("alice")
    first.connection.close("done")
    second.drop()
    world.run()
    reasons = [fields["reason"] for name, fields in world.told.events if name == "session.closed"]
    assert sorted(reasons) == ["done", "truncated"]


def test_a_rekey_gives_new_tickets_and_holds_back_what_comes_meanwhile() -> None:
    world = World()
    alice, bob = world.join("alice"), world.join("bob")
    alice.open()
    bob.attend()
    world.run(61)
    assert bob.connection.rekey()
    alice.send(1, b"bob")
    assert len(bob.welcomes) == 2
    assert bob.bodies() == [b"hello"]
    old, new = ({ticket.id for ticket in welcome.tickets} for welcome in bob.welcomes)
    assert new
    assert not old & new
    bob.drop()
    assert not world.join("bob", ticket=bob.welcomes[0].tickets[0]).welcomes[0].resumed
    assert world.join("bob", ticket=bob.welcomes[1].tickets[0]).welcomes[0].resumed


def test_a_session_whose_keys_grow_old_is_asked_for_new_ones() -> None:
    world = World()
    alice = world.join("alice")
    world.clock.advance(5400)
    world.run(8)
    assert len(alice.welcomes) == 2
    assert alice.end == ""


def test_a_session_whose_keys_stay_too_old_is_ended() -> None:
    world = World()
    alice = world.join("alice")
    world.clock.advance(7200)
    world.run(8)
    assert alice.end == "rekey-overdue"


def test_hearts_beat_a_few_at_a_time_and_all_of_a_group_in_its_time() -> None:
    world = World()
    beaten: list[tuple[float, int]] = []
    for number in range(100):
        heart = Mock(beat=lambda now, number=number: beaten.append((now, number)))
        world.factory._beats[3].add(heart)
    for _ in range(2):
        for _ in range(int(BEAT * 200)):
            world.clock.advance(0.005)
        at_once = Counter(now for now, _ in beaten)
        assert sorted(number for _, number in beaten) == list(range(100))
        assert max(at_once.values()) <= AT_ONCE
        assert max(at_once) - min(at_once) < BEAT / BEATS
        beaten.clear()


def test_who_left_before_its_look_is_not_looked_at() -> None:
    world = World()
    alice = world.join("alice")
    alice.drop()
    world.run()
    alice.wire.connection = watched = Mock()
    alice.wire.beat(world.clock.seconds())
    assert not watched.mock_calls


def test_a_fault_of_our_own_ends_one_connection_and_is_logged_with_its_place() -> None:
    world = World()
    guest = world.join("alice")
    assert guest.wire.session is not None

    def broken(_: bytes) -> None:
        raise ZeroDivisionError

    guest.wire._decoder = types.SimpleNamespace(feed=broken)
    guest.say(messages.ping(b"1"))
    world.run()
    assert guest.end == "internal"
    assert world.told.names().count("connection.failed") == 1
