"""A stream that is opened again hears every verdict, in an order that means what it says."""

from __future__ import annotations

from securerelay.protocol import messages
from tests.relay.world import STREAM, Slow, World

SOON = 0.01


def test_nothing_is_accepted_before_it_is_told_what_was_refused() -> None:
    store = Slow()
    world = World(store=store)
    world.enrol("bob")
    alice = world.join("alice")
    alice.open()
    store.slow = {"append", "stream_open"}
    alice.say(
        messages.send(1, b"nobody", None, False, b""), messages.send(2, b"bob", None, False, b"")
    )
    world.run(SOON)
    alice.drop()
    alice = world.join("alice")
    alice.open()
    while store.waiting:
        # The disk is done with the messages before it is with the stream.
        store.waiting.sort(key=lambda asked: asked[0])
        store.answer()
        world.run(SOON)
    assert alice.heard == [("stream", STREAM, 2), ("no", 1, b"unknown"), ("ok", 2)]
