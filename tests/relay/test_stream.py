"""What a sender is told: verdicts, their order, and that they stay true."""

# More than 400 lines: one module of the package, shown fully by one module of tests.

from __future__ import annotations

import dataclasses

import pytest

from securerelay.protocol import messages
from securerelay.relay.config import Config, Lifetimes, PeerLimits, Policy
from securerelay.relay.wire import LINGER
from securerelay.store.interface import MAX_REFUSALS, StorageFull
from tests.relay.world import OTHER_STREAM, STREAM, Guest, Slow, World, done

SOON = 0.01
"""Longer than the relay waits for a listener's acknowledgement."""


@pytest.fixture
def world() -> World:
    made = World()
    made.enrol("bob")
    return made


def sender(world: World) -> Guest:
    alice = world.join("alice")
    alice.open()
    alice.take()
    return alice


def test_a_new_stream_begins_at_nothing(world: World) -> None:
    alice = world.join("alice")
    alice.open()
    assert alice.take() == [("stream", STREAM, 0)]


def test_a_message_to_somebody_absent_is_ok_once_it_is_stored(world: World) -> None:
    alice = sender(world)
    alice.send(1, b"bob")
    assert alice.take() == [("ok", 1)]
    (kept,) = done(world.store.fetch("bob", 0, 9, 999))
    assert (kept.sender, kept.seq, kept.body) == ("alice", 1, b"hello")


def test_nothing_is_ok_before_the_store_has_it() -> None:
    store = Slow("append")
    world = World(store=store)
    world.enrol("bob")
    alice = sender(world)
    alice.send(1, b"bob")
    world.run(60)
    assert alice.of("ok") == []
    store.answer()
    world.run()
    assert alice.of("ok") == [(1,)]


def test_many_messages_get_one_ok(world: World) -> None:
    alice = sender(world)
    alice.say(*(messages.send(seq, b"bob", None, False, b"x") for seq in range(1, 101)))
    assert alice.take() == [("ok", 100)]


def test_ok_follows_the_recipients_acknowledgement_without_the_store() -> None:
    store = Slow()
    world = World(store=store)
    bob, alice = world.join("bob"), sender(world)
    bob.attend()
    alice.send(1, b"bob")
    assert alice.of("ok") == []
    bob.say(messages.ack(bob.of("msg")[0][0]))
    assert alice.of("ok") == [(1,)]
    world.run(SOON)
    assert store.written() == []


def test_a_listener_that_does_not_acknowledge_delays_ok_by_milliseconds_only(world: World) -> None:
    bob, alice = world.join("bob"), sender(world)
    bob.attend()
    alice.send(1, b"bob")
    world.run(SOON)
    assert alice.of("ok") == [(1,)]


def test_ok_is_cumulative_even_if_a_later_message_is_acknowledged_first(world: World) -> None:
    store = Slow("append")
    world = World(store=store)
    world.enrol("carol")
    bob, alice = world.join("bob"), sender(world)
    bob.attend()
    alice.send(1, b"carol")
    alice.send(2, b"bob")
    bob.say(messages.ack(bob.of("msg")[0][0]))
    assert alice.of("ok") == []
    store.answer()
    world.run(SOON)
    assert alice.of("ok") == [(2,)]


@pytest.mark.parametrize(("to", "code"), [(b"nobody-there", b"unknown"), (b"@room", b"unknown")])
def test_an_unknown_recipient_is_told_and_the_next_message_goes_on(
    world: World, to: bytes, code: bytes
) -> None:
    alice = sender(world)
    alice.send(1, to)
    assert alice.take() == [("no", 1, code)]
    alice.send(2, b"bob")
    assert alice.take() == [("ok", 2)]


def test_a_revoked_recipient_is_unknown(world: World) -> None:
    alice = sender(world)
    alice.send(1, b"bob")
    done_revoke(world, "bob")
    alice.send(2, b"bob")
    assert alice.of("no") == [(2, b"unknown")]


def done_revoke(world: World, name: str) -> None:
    from twisted.internet.defer import Deferred

    done(Deferred.fromCoroutine(world.router.revoke(name)))
    world.run()


def test_outside_policy_nobody_learns_who_exists() -> None:
    policy = Policy(send={"*": frozenset({"bob"})})
    world = World(Config(policy=policy))
    world.enrol("carol")
    world.enrol("bob")
    alice = sender(world)
    alice.send(1, b"carol")
    alice.send(2, b"nobody-there")
    alice.send(3, b"bob")
    assert alice.take() == [
        ("no", 1, b"not-permitted"),
        ("no", 2, b"not-permitted"),
        ("ok", 3),
    ]


def test_a_refusal_is_told_only_once_the_store_remembers_it() -> None:
    store = Slow("append")
    world = World(store=store)
    alice = sender(world)
    alice.send(1, b"nobody-there")
    assert alice.of("no") == []
    store.answer()
    world.run()
    assert alice.of("no") == [(1, b"unknown")]


def test_live_messages_are_ok_when_handed_over_and_offline_when_nobody_listens(
    world: World,
) -> None:
    alice, bob = sender(world), world.join("bob")
    alice.send(1, b"bob", ttl=0)
    assert alice.take() == [("no", 1, b"offline")]
    bob.attend()
    alice.send(2, b"bob", ttl=0)
    assert alice.take() == [("ok", 2)]
    assert bob.bodies() == [b"hello"]
    assert done(world.store.fetch("bob", 0, 9, 999)) == []


def test_a_gap_is_refused_until_the_missing_message_comes(world: World) -> None:
    alice = sender(world)
    alice.send(2, b"bob")
    alice.send(3, b"bob")
    assert alice.take() == [("no", 2, b"gap"), ("no", 3, b"gap")]
    alice.send(1, b"bob")
    alice.send(2, b"bob")
    assert alice.of("ok") == [(1,), (2,)]


def test_a_message_sent_again_gets_its_verdict_again_and_is_not_delivered_twice(
    world: World,
) -> None:
    alice = sender(world)
    alice.send(1, b"bob")
    alice.send(2, b"nobody-there")
    alice.take()
    alice.send(1, b"bob")
    alice.send(2, b"bob")
    assert alice.take() == [("ok", 1), ("no", 2, b"unknown")]
    assert len(done(world.store.fetch("bob", 0, 9, 999))) == 1


def test_a_message_in_flight_that_comes_again_is_not_taken_twice() -> None:
    store = Slow("append")
    world = World(store=store)
    world.enrol("bob")
    alice = sender(world)
    alice.send(1, b"bob")
    alice.send(1, b"bob")
    store.answer()
    world.run()
    assert alice.take() == [("ok", 1)]
    assert store.written() == [(1,)]


def test_who_sends_too_fast_is_told_so_and_loses_nothing() -> None:
    limits = PeerLimits(messages_per_second=10, messages_burst=3)
    world = World(Config(peer=limits))
    world.enrol("bob")
    alice = sender(world)
    for seq in range(1, 6):
        alice.send(seq, b"bob")
    refused = alice.of("no")
    assert refused[0][1] == b"rate"
    assert {code for _, code in refused[1:]} <= {b"gap"}
    first = refused[0][0]
    world.run(1)
    alice.send(first, b"bob")
    assert (first,) in alice.of("ok")


def test_who_sends_too_many_bytes_is_told_so() -> None:
    world = World(Config(peer=PeerLimits(bytes_per_second=65_536)))
    world.enrol("bob")
    alice = sender(world)
    alice.send(1, b"bob", b"x" * 65_536)
    alice.send(2, b"bob", b"x" * 65_536)
    assert alice.take() == [("ok", 1), ("no", 2, b"rate")]
    world.run(2)
    alice.send(2, b"bob", b"x" * 65_536)
    assert alice.of("ok") == [(2,)]


def test_after_a_reconnection_verdicts_that_were_missed_are_told_again(world: World) -> None:
    alice = sender(world)
    alice.send(1, b"bob")
    alice.send(2, b"nobody-there")
    alice.send(3, b"bob")
    alice.drop()
    alice = world.join("alice")
    alice.open(answered=0)
    assert alice.take() == [("stream", STREAM, 3), ("no", 2, b"unknown"), ("ok", 3)]


def test_verdicts_that_the_client_has_are_not_told_again(world: World) -> None:
    alice = sender(world)
    alice.send(1, b"nobody-there")
    alice.send(2, b"bob")
    alice.drop()
    alice = world.join("alice")
    alice.open(answered=2)
    assert alice.take() == [("stream", STREAM, 2)]


def test_what_is_in_flight_at_a_reconnection_is_answered_in_the_new_session() -> None:
    store = Slow("append")
    world = World(store=store)
    world.enrol("bob")
    alice = sender(world)
    alice.send(1, b"bob")
    alice.drop()
    alice = world.join("alice")
    alice.open()
    assert alice.take() == [("stream", STREAM, 1)]
    store.answer()
    world.run()
    assert alice.take() == [("ok", 1)]


def test_after_a_crash_everything_that_was_ok_is_there_and_nothing_else_is_consumed() -> None:
    store = Slow("append")
    world = World(store=store)
    world.enrol("bob")
    alice = sender(world)
    alice.send(1, b"bob")
    store.answer()
    world.run()
    alice.send(2, b"bob")
    store.waiting.clear()
    world.crash()
    alice = world.join("alice")
    alice.open(answered=1)
    assert alice.take() == [("stream", STREAM, 1)]
    alice.send(2, b"bob")
    store.answer()
    world.run()
    assert alice.take() == [("ok", 2)]


def test_a_crash_does_not_undo_what_was_acknowledged_without_the_store(world: World) -> None:
    bob, alice = world.join("bob"), sender(world)
    bob.attend()
    for seq in (1, 2):
        alice.send(seq, b"bob")
        bob.say(messages.ack(bob.of("msg")[-1][0]))
    assert alice.of("ok") == [(1,), (2,)]
    world.crash()
    alice = world.join("alice")
    alice.open(answered=2)
    assert alice.take() == [("stream", STREAM, 2)]
    alice.send(3, b"bob")
    assert alice.take() == [("ok", 3)]


def test_a_second_session_goes_on_where_the_first_one_never_needed_the_store(world: World) -> None:
    bob, first = world.join("bob"), sender(world)
    world.enrol("carol")
    bob.attend()
    for seq in (1, 2):
        first.send(seq, b"bob")
        bob.say(messages.ack(bob.of("msg")[-1][0]))
    second = world.join("alice")
    second.open(answered=2)
    second.send(3, b"carol")
    assert second.take() == [("stream", STREAM, 2), ("ok", 3)]


def test_a_full_disk_after_such_a_change_of_sessions_costs_nothing_either() -> None:
    store = Slow()
    world = World(store=store)
    bob, first = world.join("bob"), sender(world)
    world.enrol("carol")
    bob.attend()
    first.send(1, b"bob")
    bob.say(messages.ack(bob.of("msg")[-1][0]))
    second = world.join("alice")
    second.open(answered=1)
    store.slow = {"append"}
    second.send(2, b"carol")
    store.answer(StorageFull("no room"))
    world.run()
    store.slow.clear()
    second.send(2, b"carol")
    assert second.take() == [("stream", STREAM, 1), ("no", 2, b"storage-full"), ("ok", 2)]


def test_a_closed_stream_leaves_word_of_what_never_needed_the_store(world: World) -> None:
    bob, alice = world.join("bob"), sender(world)
    bob.attend()
    alice.send(1, b"bob")
    bob.say(messages.ack(bob.of("msg")[0][0]))
    alice.drop()
    world.run(SOON)
    assert world.router.find("alice") is None
    assert done(world.store.stream_open("alice", STREAM.decode(), 0, 0)).last == 1


def test_a_refusal_outlives_a_crash(world: World) -> None:
    alice = sender(world)
    alice.send(1, b"nobody-there")
    world.crash()
    world.enrol("nobody-there")
    alice = world.join("alice")
    alice.open()
    assert alice.take() == [("stream", STREAM, 1), ("no", 1, b"unknown"), ("ok", 1)]


def test_a_forgotten_stream_is_answered_so_that_the_client_opens_another(world: World) -> None:
    alice = world.join("alice")
    alice.open(answered=7)
    alice.send(8, b"bob")
    assert alice.take() == [("stream", STREAM, 0), ("no", 8, b"new-stream")]


def test_a_full_disk_refuses_for_now_and_later_the_same_messages_pass() -> None:
    store = Slow("append")
    world = World(store=store)
    world.enrol("bob")
    alice = sender(world)
    alice.send(1, b"bob")
    alice.say(*(messages.send(seq, b"bob", None, False, b"x") for seq in (2, 3)))
    store.answer(StorageFull("no room"))
    world.run()
    assert alice.take() == [("no", 1, b"storage-full"), ("no", 2, b"gap"), ("no", 3, b"gap")]
    assert world.told.names()[-1] == "store.refuses"
    store.slow.clear()
    alice.say(*(messages.send(seq, b"bob", None, False, b"x") for seq in (1, 2, 3)))
    world.run(SOON)
    assert alice.take() == [("ok", 3)]
    assert world.told.names()[-1] == "store.recovered"
    assert world.router.find("bob").mailbox.count == 3


def test_what_was_refused_for_now_does_not_keep_its_place_in_the_quota() -> None:
    store = Slow("append")
    world = World(store=store)
    world.enrol("bob")
    alice = sender(world)
    alice.send(1, b"bob")
    store.answer(StorageFull("no room"))
    world.run()
    bob = world.router.find("bob")
    assert (bob.mailbox.count, bob.mailbox.size) == (0, 0)


def test_a_full_disk_does_not_take_back_what_the_recipient_acknowledged() -> None:
    store = Slow("append")
    world = World(store=store)
    bob, alice = world.join("bob"), sender(world)
    bob.attend()
    alice.send(1, b"bob")
    world.run(SOON)
    bob.say(messages.ack(bob.of("msg")[0][0]))
    assert alice.of("ok") == [(1,)]
    store.answer(StorageFull("no room"))
    world.run()
    assert alice.of("no") == []
    store.slow.clear()
    alice.send(2, b"bob")
    world.run(SOON)
    assert alice.of("ok") == [(1,), (2,)]


def test_a_stream_with_too_many_refusals_has_to_be_replaced(world: World) -> None:
    alice = sender(world)
    for start in (1, 2049, 4097):
        said = range(start, start + 2048)
        alice.say(*(messages.send(seq, b"nobody-there", 0, False, b"") for seq in said))
    codes = dict(alice.of("no"))
    assert {codes[seq] for seq in range(1, MAX_REFUSALS + 1)} == {b"unknown"}
    assert codes[MAX_REFUSALS + 1] == b"new-stream"
    alice.send(MAX_REFUSALS + 1, b"bob")
    assert alice.of("no")[-1] == (MAX_REFUSALS + 1, b"new-stream")


def test_the_newest_session_has_the_stream_and_the_older_one_may_not_send_on_it(
    world: World,
) -> None:
    old = sender(world)
    new = world.join("alice")
    new.open()
    new.send(1, b"bob")
    assert new.of("ok") == [(1,)]
    old.send(2, b"bob")
    assert old.end == "protocol"
    assert new.end == ""


@pytest.mark.parametrize(
    "said",
    [
        messages.send(1, b"bob", None, False, b""),
        messages.stream(STREAM, 0) + messages.stream(OTHER_STREAM, 0),
        # From there on a peer could count up to numbers that the store cannot hold.
        messages.stream(STREAM, (1 << 62) + 1),
    ],
    ids=["SEND before STREAM", "two STREAMs", "a stream from far away"],
)
def test_a_session_has_one_stream(world: World, said: bytes) -> None:
    alice = world.join("alice")
    alice.say(said)
    assert alice.end == "protocol"


def test_verdicts_for_what_never_came_are_a_breach(world: World) -> None:
    first = sender(world)
    first.send(1, b"bob")
    second = world.join("alice")
    second.open(answered=9)
    assert second.end == "protocol"


def test_what_is_sent_while_the_store_looks_is_taken_in_order() -> None:
    store = Slow("stream_open", "lookup")
    world = World(store=store)
    store.slow.discard("lookup")
    world.enrol("bob")
    world.enrol("carol")
    alice = world.join("alice")
    store.slow.add("lookup")
    alice.say(
        messages.stream(STREAM, 0),
        messages.send(1, b"bob", None, False, b"1"),
        messages.send(2, b"nobody-there", None, False, b"2"),
        messages.send(3, b"carol", None, False, b"3"),
        messages.send(4, b"bob", None, False, b"4"),
    )
    assert alice.pipe.producerState == "paused"
    while store.waiting:
        store.answer()
        world.run()
    assert alice.pipe.producerState == "producing"
    assert alice.take() == [("stream", STREAM, 0), ("ok", 1), ("no", 2, b"unknown"), ("ok", 4)]
    assert [kept.body for kept in done(store.store.fetch("bob", 0, 9, 99))] == [b"1", b"4"]


def test_a_ttl_beyond_the_longest_counts_as_the_longest() -> None:
    world = World(Config(lifetimes=Lifetimes(mail=60, mail_longest=600)))
    world.enrol("bob")
    alice = sender(world)
    alice.send(1, b"bob")
    alice.send(2, b"bob", ttl=10**18)
    now = world.context.now()
    kept = done(world.store.fetch("bob", 0, 9, 999))
    assert [message.expiry - now for message in kept] == [60_000, 600_000]
    assert alice.welcomes[0].limits["ttl_longest"] == 600


@pytest.mark.parametrize("acknowledged_first", [True, False])
def test_a_receipt_is_told_when_the_recipient_acknowledges(
    world: World, acknowledged_first: bool
) -> None:
    bob, alice = world.join("bob"), sender(world)
    bob.attend()
    alice.send(1, b"bob", receipt=True)
    if not acknowledged_first:
        world.run(SOON)
    assert alice.of("got") == []
    bob.say(messages.ack(bob.of("msg")[0][0]))
    world.run(SOON)
    ((seq, peer, _),) = alice.of("got")
    assert (seq, peer) == (1, b"bob")


@pytest.mark.parametrize("stored", [True, False])
def test_a_receipt_waits_for_its_sender_and_is_told_once(world: World, stored: bool) -> None:
    bob, alice = world.join("bob"), sender(world)
    bob.attend()
    alice.send(1, b"bob", receipt=True)
    if stored:
        world.run(SOON)
    alice.drop()
    bob.say(messages.ack(bob.of("msg")[0][0]))
    world.run(SOON)
    alice = world.join("alice")
    alice.open(answered=0)
    world.run(SOON)
    assert [got[:2] for got in alice.of("got")] == [(1, b"bob")]
    alice.drop()
    alice = world.join("alice")
    alice.open(answered=1)
    assert alice.of("got") == []


def test_mail_whose_time_ran_out_is_told_to_its_sender(world: World) -> None:
    alice = sender(world)
    alice.send(1, b"bob", ttl=5)
    alice.take()
    world.run(20)
    ((kind, body),) = alice.of("event")
    assert kind == b"expired"
    assert b'"seq":1' in body
    assert world.router.find("bob") is None or world.router.find("bob").mailbox.count == 0


def test_a_session_does_not_wait_for_the_store_of_a_session_that_is_gone() -> None:
    store = Slow("stream_open")
    world = World(store=store)
    world.enrol("bob")
    first = world.join("alice")
    first.open()
    second = world.join("alice")
    second.open()
    store.answer()
    world.run()
    assert first.take() == second.take() == []
    store.answer()
    world.run()
    assert second.take() == [("stream", STREAM, 0)]


def test_limits_can_be_changed_while_streams_are_open(world: World) -> None:
    alice = sender(world)
    alice.send(1, b"bob")
    limits = dataclasses.replace(world.config.peer, messages_per_second=1, messages_burst=1)
    world.context.reconfigure(world.config.replace(peer=limits))
    for seq in (2, 3, 4, 5):
        alice.send(seq, b"bob")
    assert b"rate" in {code for _, code in alice.of("no")}


def test_policy_can_be_changed_while_streams_are_open(world: World) -> None:
    alice = sender(world)
    alice.send(1, b"bob")
    world.context.reconfigure(world.config.replace(policy=Policy(send={})))
    alice.send(2, b"bob")
    assert alice.of("no") == [(2, b"not-permitted")]


def test_a_session_whose_stream_another_opens_before_the_answer_does_not_wait_for_ever() -> None:
    store = Slow("stream_open")
    world = World(store=store)
    late, other = world.join("alice"), world.join("alice")
    late.say(messages.stream(STREAM, 0))
    other.say(messages.stream(STREAM, 0))
    assert late.end == "stream-taken"
    store.answer()
    store.answer()
    world.run()
    assert other.take() == [("stream", STREAM, 0)]


def test_who_is_told_to_go_and_talks_on_is_cut_after_half_a_minute() -> None:
    store = Slow("stream_open")
    world = World(store=store)
    late, other = world.join("alice"), world.join("alice")
    late.deaf = True
    late.say(messages.stream(STREAM, 0))
    other.say(messages.stream(STREAM, 0))
    for _ in range(6):
        assert not late.pipe.aborted
        late.say(messages.ping(b"on"))
        world.run(5)
    world.run(LINGER)
    assert late.pipe.aborted
    assert not other.pipe.aborted
