"""What becomes of messages that are sent: at once, later, after a crash, or not at all."""

from __future__ import annotations

from securerelay.client import Sent
from securerelay.errors import Refused
from tests.client.sealing.village import Village


def test_a_message_with_a_key_is_sealed_and_arrives_once(village: Village):
    alice, bob = village.settle("alice", "bob")
    assert isinstance(alice.say("bob", "paid", once="invoice 7"), Sent)
    assert isinstance(alice.say("bob", "paid", once="invoice 7"), Sent)
    assert bob.texts == ["paid"]


def test_a_message_with_a_key_that_was_queued_without_a_connection_leaves_later(village: Village):
    alice, bob = village.settle("alice", "bob")
    alice.stop()
    alice.client.send("bob", b"paid", once="invoice 7", wait="queued")
    village.run(1)
    alice.kill()
    alice.start()
    assert isinstance(alice.say("bob", "paid", once="invoice 7"), Sent)
    assert bob.texts == ["paid"]


def test_nobody_of_that_name_is_an_error_at_once_and_leaves_nothing_behind(village: Village):
    (alice,) = village.settle("alice")
    refusal = alice.say("nemo", "hello")
    assert isinstance(refusal, Refused)
    assert refusal.code == "unknown"
    assert alice.states() == ["refused"]


def test_a_message_to_somebody_without_keys_leaves_when_there_are_some(village: Village):
    (alice,) = village.settle("alice")
    village.person("bob")
    sending = alice.client.send("bob", b"hello", timeout=None)
    told = []
    sending.addErrback(lambda failure: told.append(failure.value))
    village.run(10)
    words = "no-keys: no keys to seal with were published yet; the message stays in the outbox"
    assert str(told[0]) == words
    village.person("bob").start()
    village.run(90)
    assert village.person("bob").texts == ["hello"]
    assert alice.states() == ["accepted"]


def test_one_who_is_not_ready_is_in_nobodys_way_and_order_is_kept(village: Village):
    alice, carol = village.settle("alice", "carol")
    village.person("bob")
    for number in range(3):
        alice.client.post("bob", b"%d" % number)
        alice.client.post("carol", b"%d" % number)
    village.run(5)
    assert carol.texts == ["0", "1", "2"]
    assert alice.states().count("queued") == 3
    bob = village.person("bob").start()
    alice.client.post("bob", b"3")
    village.run(90)
    assert bob.texts == ["0", "1", "2", "3"]
    assert (bob.notices, carol.notices) == ([], [])


def test_what_a_dead_program_held_leaves_with_the_next(village: Village):
    (alice,) = village.settle("alice")
    village.person("bob")
    alice.say("bob", "one", wait="queued")
    alice.say("bob", "two", wait="queued")
    alice.kill()
    bob = village.person("bob").start()
    alice.start()
    village.run(10)
    assert bob.texts == ["one", "two"]
    assert alice.states() == ["accepted", "accepted"]


def test_a_live_message_waits_for_keys_and_is_never_on_disk(village: Village):
    alice, bob = village.settle("alice", "bob")
    assert isinstance(alice.say("bob", "now", ttl=0), Sent)
    assert bob.texts == ["now"]
    assert alice.states() == []
    village.person("carol")
    refusal = alice.say("carol", "now", ttl=0)
    assert isinstance(refusal, Refused)
    assert refusal.code == "no-keys"


def test_what_a_dead_program_had_numbered_leaves_before_what_it_held(village: Village):
    alice, bob = village.settle("alice", "bob")
    alice.say("bob", "first")
    village.relay.verdict = lambda seq, to: b"rate"
    for number in range(3):
        alice.client.post("bob", b"numbered %d" % number)
    village.run(1)
    village.clock.advance(3600)  # the keys are no longer fresh
    for number in range(3):
        alice.client.post("bob", b"held %d" % number)
    village.clock.advance(0)
    alice.kill()
    village.relay.verdict = lambda seq, to: None
    alice.start()
    village.run(20)
    numbered, held = [f"numbered {n}" for n in range(3)], [f"held {n}" for n in range(3)]
    assert bob.texts == ["first", *numbered, *held]
    assert (bob.notices, alice.states()) == ([], ["accepted"] * 7)


def test_after_many_refusals_messages_go_on_in_a_new_stream(village: Village):
    alice, bob = village.settle("alice", "bob")
    alice.say("bob", "hello")
    village.relay.verdict = lambda seq, to: b"mailbox-full" if 10 <= seq < 90 else None
    for number in range(200):
        alice.client.post("bob", b"%d" % number)
    village.run(5)
    assert len(alice.refusals) == 80
    village.relay.verdict = lambda seq, to: None
    alice.say("bob", "and on")
    village.run(5)
    assert bob.texts == ["hello", *map(str, (*range(8), *range(88, 200))), "and on"]
    assert alice.states().count("queued") == 0
    streams = {post.stream for post in village.relay.carried}
    assert len(streams) == 2
