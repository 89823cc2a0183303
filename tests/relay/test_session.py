"""A connected peer's session: what waits to be written, how much, and how it ends."""

from __future__ import annotations

import dataclasses

import pytest
from twisted.internet.defer import Deferred

from securerelay.protocol import messages
from securerelay.relay.config import Config, Limits, PeerLimits
from tests.relay.world import STREAM, Guest, Slow, World, done

SOON = 0.01


def pair(config: Config | None = None) -> tuple[World, Guest, Guest]:
    world = World(config)
    alice, bob = world.join("alice"), world.join("bob")
    alice.open()
    bob.attend()
    return world, alice, bob


def limited(**limits: int) -> Config:
    return Config(limits=dataclasses.replace(Limits(), **limits))


def test_a_ping_is_answered() -> None:
    _, alice, _ = pair()
    alice.say(messages.ping(b"abc"))
    assert alice.of("pong") == [(b"abc",)]


def test_who_has_nothing_but_a_pong_to_say_takes_less_memory_until_there_is_more() -> None:
    _, alice, bob = pair()
    link = bob.wire.connection
    assert link._sealer._cipher is not None
    bob.say(messages.pong(b"abc"))
    assert (link._sealer._cipher, link._opener._cipher) == (None, None)
    alice.send(1, b"bob", b"hello")
    assert bob.of("msg")[0][-1] == b"hello"
    bob.say(messages.pong(b"abc"))
    bob.say(messages.ping(b"abc"))
    assert bob.of("pong") == [(b"abc",)]


@pytest.mark.parametrize(
    "said", [messages.ping(b"x"), messages.pong(b"x"), messages.ack(0)], ids=["PING", "PONG", "ACK"]
)
def test_who_chatters_is_not_read_for_as_long_as_that_would_have_taken(said: bytes) -> None:
    world, alice, bob = pair(Config(peer=PeerLimits(messages_per_second=100, messages_burst=100)))
    bob.say(said * 50)
    assert bob.pipe.producerState == "producing"
    bob.say(said * 1000)
    assert bob.end == ""
    world.run(5)
    assert bob.pipe.producerState == "paused"
    assert alice.pipe.producerState == "producing"
    world.run(6)
    assert bob.pipe.producerState == "producing"


def test_everything_of_one_turn_leaves_in_one_record() -> None:
    _world, alice, bob = pair()
    before = bob.connection.carried
    alice.say(*(messages.send(seq, b"bob", None, False, b"") for seq in range(1, 4)))
    assert len(bob.of("msg")) == 3
    assert bob.connection.carried - before == 2 + 256 + 16


@pytest.mark.parametrize(
    "said", [b"HELO 1\n", b"SEND 1 bob - - x\n", b"ACK 01\n", b"SEND 1 Bob - - 0\n", b"x" * 600]
)
def test_nonsense_ends_the_session(said: bytes) -> None:
    _, alice, bob = pair()
    alice.say(said)
    assert (alice.end, bob.end) == ("protocol", "")


def test_a_message_above_the_limit_ends_the_session() -> None:
    _, alice, _ = pair(limited(message_bytes=1024))
    alice.send(1, b"bob", b"x" * 1025)
    assert alice.end == "too-large"


def test_a_message_of_the_limit_arrives_whole() -> None:
    _world, alice, bob = pair()
    body = bytes(range(256)) * 4096
    alice.send(1, b"bob", body)
    assert bob.bodies() == [body]


def test_who_does_not_take_what_it_is_told_is_not_read_any_more() -> None:
    world, alice, _ = pair(limited(buffer_pause_bytes=65_536))
    alice.deaf = True
    alice.wire.pauseProducing()
    for _ in range(3000):
        alice.mumble(messages.ping(b"x" * 22))
    world.run()
    assert alice.pipe.producerState == "paused"
    alice.deaf = False
    alice.wire.resumeProducing()
    world.run()
    assert alice.pipe.producerState == "producing"
    assert len(alice.of("pong")) == 3000


def test_who_never_takes_what_it_is_told_loses_its_session_and_no_mail() -> None:
    config = limited(message_bytes=1024, buffer_pause_bytes=65_536, buffer_abort_bytes=65_536)
    world, alice, bob = pair(config)
    bob.deaf = True
    bob.wire.pauseProducing()
    for seq in range(1, 101):
        alice.mumble(messages.send(seq, b"bob", None, False, b"x" * 1000))
    world.run(SOON)
    assert bob.gone
    assert bob.pipe.aborted
    assert ("session.closed", "slow") in [
        (name, fields.get("reason")) for name, fields in world.told.events
    ]
    again = world.join("bob")
    again.attend()
    assert len(again.of("msg")) == 100
    world.run(SOON)
    assert alice.of("ok")[-1] == (100,)


def test_a_slow_listener_holds_no_more_than_its_window() -> None:
    config = Config(
        limits=dataclasses.replace(Limits(), window_bytes=65_536, mailbox_sender_percent=100)
    )
    world, alice, bob = pair(config)
    bob.deaf = True
    bob.wire.pauseProducing()
    for seq in range(1, 501):
        alice.mumble(messages.send(seq, b"bob", None, False, b"x" * 1000))
    world.run(SOON)
    assert alice.of("ok")[-1] == (500,)
    assert world.router.status()["buffered"] < 80_000


def test_a_sender_is_not_read_while_too_much_waits_for_the_store() -> None:
    store = Slow("append")
    world = World(Config(peer=PeerLimits(bytes_per_second=1 << 30)), store)
    world.enrol("bob")
    alice = world.join("alice")
    alice.open()
    alice.send(1, b"bob")
    for seq in range(2, 40):
        alice.mumble(messages.send(seq, b"bob", None, False, b"x" * 900_000))
    world.run()
    assert alice.pipe.producerState == "paused"
    store.slow.clear()
    while store.waiting:
        store.answer()
        world.run()
    world.run(SOON)
    assert alice.pipe.producerState == "producing"


def test_who_listens_again_and_again_without_end_is_cut() -> None:
    _, alice, _ = pair()
    alice.say(*(messages.listen(0) for _ in range(100)))
    assert alice.end == "protocol"


def test_who_goes_on_though_too_fast_is_not_read_for_a_moment() -> None:
    config = Config(peer=PeerLimits(messages_per_second=1000, messages_burst=10))
    world, alice, _ = pair(config)
    alice.say(*(messages.send(seq, b"bob", None, False, b"") for seq in range(1, 100)))
    assert alice.pipe.producerState == "paused"
    world.run(0.2)
    assert alice.pipe.producerState == "producing"


def test_messages_out_of_turn_count_as_well() -> None:
    config = Config(peer=PeerLimits(messages_per_second=1, messages_burst=10))
    _, alice, _ = pair(config)
    alice.say(*(messages.send(seq, b"bob", None, False, b"") for seq in range(2, 100)))
    assert {code for _, code in alice.of("no")} == {b"gap"}
    assert alice.pipe.producerState == "paused"


def test_a_fifth_session_takes_the_place_of_the_oldest() -> None:
    world = World(Config(peer=PeerLimits(sessions=2)))
    first, second, third = (world.join("alice") for _ in range(3))
    assert (first.end, second.end, third.end) == ("replaced", "", "")
    assert "session.replaced" in world.told.names()
    assert len(world.router.find("alice").sessions) == 2


def test_revocation_cuts_every_session_of_the_peer_at_once_and_no_other() -> None:
    world, alice, bob = pair()
    second = world.join("alice")
    cut = Deferred.fromCoroutine(world.router.revoke("alice"))
    world.run()
    assert done(cut) == 2
    assert (alice.end, second.end, bob.end) == ("revoked", "revoked", "")


def test_a_relay_that_ends_answers_what_it_took_and_says_goodbye() -> None:
    store = Slow("append")
    world = World(store=store)
    world.enrol("bob")
    alice = world.join("alice")
    alice.open()
    alice.send(1, b"bob")
    draining = Deferred.fromCoroutine(world.router.drain())
    world.run()
    assert alice.end == ""
    alice.mumble(messages.send(2, b"bob", None, False, b""))
    store.answer()
    world.run()
    assert alice.of("ok") == [(1,)]
    assert (alice.end, alice.ends[0].orderly) == ("shutdown", True)
    done(draining)
    assert store.written() == [(1,)]


def test_a_relay_that_ends_lets_nobody_in() -> None:
    world, _, _ = pair()
    done(Deferred.fromCoroutine(_drained(world)))
    late = world.join("carol")
    assert late.end == "shutdown"


async def _drained(world: World) -> None:
    draining = Deferred.fromCoroutine(world.router.drain())
    world.run()
    await draining


def test_messages_after_the_relays_goodbye_are_not_taken() -> None:
    world, alice, _ = pair()
    session = world.router.find("alice").sessions[0]
    session.close("shutdown")
    alice.mumble(messages.send(1, b"bob", None, False, b""))
    world.run()
    assert world.router.find("bob").mailbox._newest == world.router._base


def test_an_error_of_ours_ends_one_session_and_is_told_once() -> None:
    store = Slow("stream_open")
    world = World(store=store)
    alice, bob = world.join("alice"), world.join("bob")
    alice.open()
    store.answer(ZeroDivisionError("ours"))
    world.run()
    assert (alice.end, bob.end) == ("internal", "")
    assert world.told.names().count("session.failed") == 1


def test_a_session_that_ends_leaves_nothing_behind() -> None:
    world, alice, bob = pair()
    alice.send(1, b"bob")
    bob.say(messages.ack(bob.of("msg")[0][0]))
    world.run(SOON)
    for guest in (alice, bob):
        guest.drop()
    world.run(60)
    assert world.router._peers == {}
    assert list(world.router.sessions) == []
    assert all(not group for group in world.factory._beats)


def test_what_a_peer_says_in_pieces_is_understood() -> None:
    _, alice, bob = pair()
    said = messages.send(1, b"bob", None, False, b"hello")
    for byte in range(len(said)):
        alice.say(said[byte : byte + 1])
    assert bob.bodies() == [b"hello"]
    assert alice.of("stream") == [(STREAM, 0)]
