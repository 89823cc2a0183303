"""Direct messages between clients, sealed: what the relay carries, and what people see."""

from __future__ import annotations

from securerelay.client import Sent
from securerelay.protocol import sealed
from tests.client.sealing.village import Village


def test_messages_pass_both_ways_and_the_relay_reads_none(village: Village):
    alice, bob = village.settle("alice", "bob")
    assert isinstance(alice.say("bob", "hello bob"), Sent)
    assert isinstance(bob.say("alice", "hello alice"), Sent)
    assert (alice.texts, bob.texts) == (["hello alice"], ["hello bob"])
    (message,) = bob.shown
    assert (message.sender, message.to, message.content_type) == ("alice", "bob", "text/plain")
    assert (message.sealed, message.level) == (True, "seen")
    assert (alice.notices, bob.notices) == ([], [])
    assert all(sealed.is_sealed(post.body) for post in village.relay.carried)
    assert not any(b"hello" in post.body for post in village.relay.carried)
    assert b"hello" not in alice.bytes_on_disk()
