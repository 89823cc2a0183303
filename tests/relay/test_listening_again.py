"""A listener that begins again knows what it heard, whatever of it the relay says once more."""

from __future__ import annotations

import dataclasses

from securerelay.protocol import messages
from securerelay.relay.config import Limits
from tests.relay.world import STREAM, Slow, World, done

SOON = 0.01


def test_what_was_heard_before_listening_again_can_be_acknowledged_at_once() -> None:
    world = World()
    alice, bob = world.join("alice"), world.join("bob")
    alice.open()
    for seq in (1, 2, 3):
        alice.send(seq, b"bob")
    world.run(SOON)
    bob.attend()
    first, _, last = (number for number, *_ in bob.of("msg"))
    # He says both at once: begin again behind the first, and all is dealt with.
    bob.say(messages.listen(first))
    assert [seq for _, _, _, _, seq, _, _ in bob.of("msg")] == [1, 2, 3, 2, 3]
    bob.say(messages.listen(0), messages.ack(last))
    world.run(SOON)
    assert bob.end == ""
    assert done(world.store.fetch("bob", 0, 9, 999)) == []


def test_what_was_heard_can_be_acknowledged_although_little_of_it_came_again() -> None:
    world = World()
    alice, bob = world.join("alice"), world.join("bob")
    alice.open()
    for seq in (1, 2, 3):
        alice.send(seq, b"bob")
    world.run(SOON)
    bob.attend()
    last = bob.of("msg")[-1][0]
    world.router.reconfigure(
        world.config.replace(limits=dataclasses.replace(Limits(), window_messages=1))
    )
    bob.attend()
    assert [seq for _, _, _, _, seq, _, _ in bob.of("msg")] == [1, 2, 3, 1]
    bob.say(messages.ack(last))
    assert bob.end == ""


def test_an_acknowledgement_that_crossed_a_new_beginning_still_counts() -> None:
    store = Slow("append")
    world = World(store=store)
    alice, bob = world.join("alice"), world.join("bob")
    alice.open()
    bob.attend()
    alice.say(messages.send(1, b"bob", None, True, b"hello"))
    world.run(SOON)  # it is on its way to the disk
    alice.say(messages.send(2, b"bob", None, True, b"again"))
    last = bob.of("msg")[-1][0]
    bob.say(messages.listen(last))
    bob.say(messages.ack(last))
    store.slow.clear()
    while store.waiting:
        store.answer()
    world.run(SOON)
    assert alice.of("ok")[-1] == (2,)
    assert sorted((seq, peer) for seq, peer, _ in alice.of("got")) == [(1, b"bob"), (2, b"bob")]
    assert done(store.fetch("bob", 0, 9, 999)) == []
    assert done(store.stream_open("alice", STREAM.decode(), 0, 0)).receipts == ()
