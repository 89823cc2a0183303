"""A stream that is opened again hears every verdict, in an order that means what it says."""

from __future__ import annotations

from securerelay.protocol import messages
from securerelay.store.interface import StorageFull
from tests.relay.world import STREAM, Slow, World

SOON = 0.01


def test_nothing_is_accepted_before_it_is_told_what_was_refused() -> None:
    store = Slow()
    world = World(store=store)
    world.enrol("bob")
    alice = world.join("alice")
    alice.open()
    store.slow = {"append", "stream_open"}
    two = messages.send(2, b"bob", None, False, b"")
    alice.say(messages.send(1, b"nobody", None, False, b""), two)
    world.run(SOON)
    alice.drop()
    alice = world.join("alice")
    alice.open()
    while store.waiting:
        # The disk is done with the messages before it is with the stream.
        store.waiting.sort(key=lambda asked: asked[0])
        store.answer()
        world.run(SOON)
    store.slow.clear()
    alice.say(two)
    world.run(SOON)
    assert alice.heard == [("stream", STREAM, 1), ("no", 1, b"unknown"), ("ok", 2)]


def test_nothing_overtakes_a_message_whose_refusal_a_crash_could_undo() -> None:
    store = Slow()
    world = World(store=store)
    alice, bob = world.join("alice"), world.join("bob")
    alice.open()
    store.slow = {"append"}
    alice.say(messages.send(1, b"bob", 0, False, b"live"))
    world.run(SOON)
    bob.attend()
    alice.say(messages.send(2, b"bob", None, False, b"hello"))
    alice.say(messages.send(3, b"bob", 0, False, b"live"))
    world.run(SOON)
    assert bob.bodies() == []
    store.slow.clear()
    store.answer()
    world.run(SOON)
    assert bob.bodies() == [b"hello", b"live"]
    bob.say(messages.ack(bob.of("msg")[-1][0]))
    assert alice.of("no") == [(1, b"offline")]
    assert alice.of("ok")[-1] == (3,)


def test_what_waits_behind_a_refusal_is_sent_again_if_the_store_does_not_take_it() -> None:
    store = Slow()
    world = World(store=store)
    alice, bob = world.join("alice"), world.join("bob")
    alice.open()
    bob.attend()
    store.slow = {"append"}
    alice.say(
        messages.send(1, b"nobody", None, False, b""),
        messages.send(2, b"bob", None, False, b"hello"),
    )
    world.run(SOON)
    store.slow.clear()
    store.answer(StorageFull("no room"))
    world.run(SOON)
    assert alice.of("no") == [(1, b"storage-full"), (2, b"gap")]
    alice.say(
        messages.send(1, b"nobody", None, False, b""),
        messages.send(2, b"bob", None, False, b"hello"),
    )
    world.run(SOON)
    assert alice.of("no")[2:] == [(1, b"unknown")]
    assert bob.bodies() == [b"hello"]
    bob.say(messages.ack(bob.of("msg")[-1][0]))
    assert alice.of("ok")[-1] == (2,)


def test_a_session_that_goes_on_with_a_stream_waits_for_its_refusals_too() -> None:
    store = Slow()
    world = World(store=store)
    alice, bob = world.join("alice"), world.join("bob")
    alice.open()
    store.slow = {"append"}
    alice.say(messages.send(1, b"bob", 0, False, b"live"))
    world.run(SOON)
    bob.attend()
    alice.drop()
    alice = world.join("alice")
    alice.open()
    alice.say(messages.send(2, b"bob", 0, False, b"again"))
    assert bob.bodies() == []
    store.slow.clear()
    store.answer()
    world.run(SOON)
    assert bob.bodies() == [b"again"]
    assert alice.of("no") == [(1, b"offline")]


def test_verdicts_for_what_is_in_flight_are_a_breach_and_fill_nobodys_mailbox() -> None:
    store = Slow("append")
    world = World(store=store)
    for name in ("bob", "carol"):
        world.enrol(name)
    alice = world.join("alice")
    alice.open()
    alice.send(1, b"carol")  # the next batch waits for this one
    alice.say(*(messages.send(seq, b"bob", None, False, b"hello") for seq in range(2, 12)))
    liar = world.join("alice")
    liar.open(answered=11)
    assert liar.end == "protocol"
    store.slow.clear()
    store.answer()
    world.run(SOON)
    assert alice.of("ok")[-1] == (11,)
    bob = world.join("bob")
    bob.attend()
    bob.say(messages.ack(bob.of("msg")[-1][0]))
    world.run(SOON)
    peer = world.router.find("bob")
    assert peer is not None
    assert peer.mailbox is not None
    assert (len(bob.of("msg")), peer.mailbox.count, peer.mailbox.size) == (10, 0, 0)
