"""Messages that came together and are kept: one thing to the relay, single ones to others."""

from __future__ import annotations

import pytest

from securerelay.protocol import messages
from securerelay.relay.config import Config, Limits
from securerelay.store.interface import StorageFull
from securerelay.store.rows import Append
from tests.relay.test_mailbox import SOON, ack_all, listener, sender, seqs
from tests.relay.world import STREAM, Guest, Slow, World, done

LATER = 0.05
"""Seconds in which the relay writes whatever there is to write."""


def kept(first: int, last: int, ttl: int | None = None, receipt: bool = False) -> list[bytes]:
    """Return messages to Bob, each with its seq for a body."""
    return [messages.send(seq, b"bob", ttl, receipt, b"%d" % seq) for seq in range(first, last + 1)]


def relay(*slow: str, **limits: int) -> tuple[World, Slow]:
    store = Slow(*slow)
    world = World(Config(limits=Limits(**limits)), store)
    world.enrol("bob")
    return world, store


def numbers(bob: Guest) -> list[int]:
    return [message[0] for message in bob.of("msg")]


def written(store: Slow) -> list[tuple[int, tuple[bytes, ...], int | None]]:
    """What was given to append: seq, bodies, and the seq before."""
    return [
        (item.seq, tuple(item.bodies), item.after)
        for name, args in store.asked
        if name == "append"
        for item in args[0]
        if isinstance(item, Append)
    ]


def bodies(first: int, last: int) -> tuple[bytes, ...]:
    return tuple(b"%d" % seq for seq in range(first, last + 1))


def usage(world: World) -> tuple[int, int]:
    """What the quotas of Bob's mailbox count; the sender's are the same."""
    peer = world.router.find("bob")
    assert peer is not None
    assert peer.mailbox is not None
    mailbox = peer.mailbox
    share = mailbox.shares.get(b"alice")
    if share is not None:
        assert (share.count, share.size) == (mailbox.count, mailbox.size)
    return mailbox.count, mailbox.size


@pytest.mark.parametrize("ttl", [None, 60])
def test_a_run_is_handed_over_with_rising_numbers_and_written_never_if_it_is_acknowledged(
    ttl: int | None,
) -> None:
    world, store = relay()
    alice, bob = sender(world), listener(world)
    alice.say(*kept(1, 10, ttl))
    assert [m[1:5] + m[6:] for m in bob.of("msg")] == [
        (b"alice", b"bob", STREAM, seq, b"%d" % seq) for seq in range(1, 11)
    ]
    first = numbers(bob)[0]
    assert numbers(bob) == list(range(first, first + 10))
    assert alice.of("ok") == []
    assert world.router.status()["unwritten"] == 10
    bob.say(messages.ack(numbers(bob)[-1]))
    assert alice.of("ok") == [(10,)]
    world.run(LATER)
    assert written(store) == []
    assert (world.router.accepted, world.router.delivered) == (10, 10)
    assert world.router.status()["unwritten"] == 0
    assert usage(world) == (0, 0)


def test_messages_acknowledged_one_by_one_before_they_are_written_are_never_written() -> None:
    world, store = relay()
    alice, bob = sender(world), listener(world)
    alice.say(*kept(1, 20))
    for seq, n in enumerate(numbers(bob), 1):
        bob.say(messages.ack(n))
        assert alice.of("ok")[-1] == (seq,)
        assert world.router.accepted == seq
    world.run(LATER)
    assert written(store) == []
    assert world.router.delivered == 20


def test_what_is_left_of_a_run_is_written_as_one_row_and_ok_then() -> None:
    world, store = relay("append")
    alice, bob = sender(world), listener(world)
    alice.say(*kept(1, 10))
    bob.say(messages.ack(numbers(bob)[3]))
    assert alice.of("ok") == [(4,)]
    bob.say(messages.ack(numbers(bob)[5]))
    assert alice.of("ok") == [(4,), (6,)]
    world.run(LATER)
    assert written(store) == [(7, bodies(7, 10), 0)]
    assert alice.of("ok") == [(4,), (6,)]
    assert world.router.accepted == 6
    store.answer()
    world.run(LATER)
    assert alice.of("ok")[-1] == (10,)
    assert world.router.accepted == 10
    rows = done(store.store.fetch("bob", 0, 99, 99))
    assert [(row.n, row.seq) for row in rows] == list(
        zip(numbers(bob)[6:], range(7, 11), strict=True)
    )
    assert usage(world) == (4, 5)
    ack_all(bob)
    assert done(store.store.fetch("bob", 0, 99, 99)) == []
    assert usage(world) == (0, 0)


def test_the_next_run_is_written_behind_what_is_left_of_the_first() -> None:
    world, store = relay()
    alice, bob = sender(world), listener(world)
    alice.say(*kept(1, 5))
    bob.say(messages.ack(numbers(bob)[1]))
    alice.say(*kept(6, 8))
    world.run(LATER)
    assert written(store) == [(3, bodies(3, 5), 0), (6, bodies(6, 8), 5)]
    assert alice.of("ok")[-1] == (8,)
    assert alice.of("no") == []


@pytest.mark.parametrize("commit", [False, True])
def test_after_a_crash_what_was_ok_of_a_run_is_consumed(commit: bool) -> None:
    world, store = relay("append")
    alice, bob = sender(world), listener(world)
    alice.say(*kept(1, 10))
    bob.say(messages.ack(numbers(bob)[3]))
    world.run(LATER)
    if commit:
        store.answer()  # and the process ends before it is heard of
    store.waiting.clear()
    store.slow.clear()
    world.crash()
    alice = world.join("alice")
    alice.open(answered=4)
    assert alice.of("stream") == [(STREAM, 10 if commit else 4)]
    alice.say(*kept(5, 10))
    assert alice.of("ok")[-1] == (10,)
    assert seqs(listener(world)) == [5, 6, 7, 8, 9, 10]


def test_a_second_session_takes_over_a_stream_in_the_middle_of_a_run() -> None:
    world, store = relay()
    first, bob = sender(world), listener(world)
    first.say(*kept(1, 10))
    bob.say(messages.ack(numbers(bob)[3]))
    second = world.join("alice")
    second.open(answered=4)
    second.say(*kept(5, 12))
    world.run(LATER)
    assert second.of("stream") == [(STREAM, 10)]
    assert second.of("ok")[-1] == (12,)
    assert second.of("no") == []
    assert [row[0] for row in written(store)] == [5, 11]
    assert seqs(bob) == list(range(1, 13))


@pytest.mark.parametrize("steps", [(4,), (10,), (2, 5), (2, 10)])
def test_what_is_acknowledged_while_it_is_written_is_forgotten_afterwards(
    steps: tuple[int, ...],
) -> None:
    world, store = relay("append")
    alice, bob = sender(world), listener(world)
    alice.say(*kept(1, 10, receipt=True))
    world.run(LATER)
    assert written(store) == [(1, bodies(1, 10), 0)]
    for step in steps:
        bob.say(messages.ack(numbers(bob)[step - 1]))
        world.run(SOON)
    whole = steps[-1] == 10
    assert alice.of("ok") == ([(10,)] if whole else [])
    assert alice.of("got") == []
    assert store.count("ack") == 0
    store.answer()
    world.run(LATER)
    assert alice.of("ok") == [(10,)]
    assert world.router.accepted == 10
    assert store.count("ack") == 1
    assert [got[0] for got in alice.of("got")] == list(range(1, steps[-1] + 1))
    rows = done(store.store.fetch("bob", 0, 99, 99))
    assert [row.seq for row in rows] == list(range(steps[-1] + 1, 11))
    assert usage(world) == (len(rows), sum(len(row.body) for row in rows))
    bob.say(messages.ack(numbers(bob)[-1]))
    world.run(LATER)
    assert [got[0] for got in alice.of("got")] == list(range(1, 11))
    assert usage(world) == (0, 0)


@pytest.mark.parametrize("early", [0, 3])
@pytest.mark.parametrize("late", [0, 5])
def test_a_run_that_cannot_be_written_comes_again(early: int, late: int) -> None:
    world, store = relay("append")
    alice, bob = sender(world), listener(world)
    alice.say(*kept(1, 10))
    if early:
        bob.say(messages.ack(numbers(bob)[early - 1]))
    world.run(LATER)
    if late:
        bob.say(messages.ack(numbers(bob)[late - 1]))
    store.answer(StorageFull("no room"))
    world.run()
    again = range(early + 1, 11)
    assert alice.of("no") == [(again[0], b"storage-full"), *((seq, b"gap") for seq in again[1:])]
    assert alice.of("ok") == ([(early,)] if early else [])
    assert world.router.accepted == early
    store.slow.clear()
    alice.say(*kept(again[0], 10))
    world.run(LATER)
    assert alice.of("ok")[-1] == (10,)
    assert world.router.accepted == 10
    assert seqs(bob) == [*range(1, 11), *again]
    assert done(store.store.mailbox_state("bob")).total.count == len(again)
    ack_all(bob)
    assert usage(world) == (0, 0)


def test_a_run_behind_one_that_cannot_be_written_comes_again_from_its_first_message_on() -> None:
    world, store = relay("append")
    world.enrol("carol")
    alice, bob = sender(world), listener(world)
    alice.say(messages.send(1, b"carol", None, False, b""))
    alice.say(*kept(2, 6))
    bob.say(messages.ack(numbers(bob)[2]))
    store.answer(StorageFull("no room"))
    world.run()
    # No verdict speaks for those that Bob has already, so they are sent again with the others.
    assert alice.of("no") == [(1, b"storage-full"), *((seq, b"gap") for seq in range(2, 7))]
    assert alice.of("ok") == []
    store.slow.clear()
    alice.say(messages.send(1, b"carol", None, False, b""), *kept(2, 6))
    world.run(LATER)
    assert alice.of("ok")[-1] == (6,)
    assert seqs(bob) == [2, 3, 4, 5, 6, 2, 3, 4, 5, 6]
    assert world.router.accepted == 6


@pytest.mark.parametrize(("acked", "ok"), [(2, 3), (5, 6)])
def test_what_is_acknowledged_behind_a_message_that_is_written_is_ok_and_counts_with_it(
    acked: int, ok: int
) -> None:
    world, store = relay("append")
    world.enrol("carol")
    alice, bob = sender(world), listener(world)
    alice.say(messages.send(1, b"carol", None, False, b""))
    alice.say(*kept(2, 6))
    bob.say(messages.ack(numbers(bob)[1]))
    bob.say(messages.ack(numbers(bob)[acked - 1]))
    assert alice.of("ok") == []
    store.answer()
    world.run()
    assert alice.of("ok") == [(ok,)]
    assert world.router.accepted == ok
    store.slow.clear()
    while store.waiting:
        store.answer()
    world.run(LATER)
    assert world.router.accepted == 6


def test_a_run_that_cannot_be_written_behind_one_that_was_comes_again_behind_it() -> None:
    world, store = relay("append")
    alice = sender(world)
    alice.say(*kept(1, 5))
    store.answer()
    alice.say(*kept(6, 8))
    store.answer(StorageFull("no room"))
    store.slow.clear()
    world.run()
    alice.say(*kept(6, 8))
    assert alice.of("no") == [(6, b"storage-full"), (7, b"gap"), (8, b"gap")]
    assert alice.of("ok")[-1] == (8,)
    assert seqs(listener(world)) == list(range(1, 9))


def test_what_was_acknowledged_takes_no_room_although_it_could_not_be_written() -> None:
    world, store = relay("append")
    alice = sender(world)
    alice.say(*kept(1, 4))
    bob = listener(world)
    assert seqs(bob) == [1, 2, 3, 4]
    assert usage(world) == (4, 4)
    bob.say(messages.ack(numbers(bob)[-1]))
    assert alice.of("ok") == [(4,)]
    store.answer(StorageFull("no room"))
    world.run(LATER)
    assert usage(world) == (0, 0)
    assert alice.of("no") == []


def test_each_of_a_run_of_live_messages_counts() -> None:
    world, _ = relay()
    alice, bob = sender(world), listener(world)
    alice.say(*kept(1, 10, ttl=0))
    assert world.router.accepted == 10
    bob.say(messages.ack(numbers(bob)[3]))
    assert world.router.delivered == 4


def test_what_was_acknowledged_behind_what_cannot_be_written_is_counted_off_once() -> None:
    world, store = relay("append")
    world.enrol("carol")
    alice = sender(world)
    alice.say(messages.send(1, b"carol", None, False, b""))
    alice.say(*kept(2, 5))
    bob = listener(world)
    bob.say(messages.ack(numbers(bob)[-1]))
    store.answer(StorageFull("no room"))
    world.run()
    assert len(alice.of("no")) == 5
    assert usage(world) == (0, 0)


def test_live_messages_behind_a_run_wait_with_their_ok() -> None:
    world, store = relay("append")
    alice, bob = sender(world), listener(world)
    alice.say(*kept(1, 4), *kept(5, 6, ttl=0))
    assert seqs(bob) == [1, 2, 3, 4, 5, 6]
    bob.say(messages.ack(numbers(bob)[1]))
    assert alice.of("ok") == [(2,)]
    world.run(LATER)
    bob.say(messages.ack(numbers(bob)[5]))
    # While it is written: it is settled as a whole, and they are with it.
    assert alice.of("ok") == [(2,), (6,)]
    store.answer()
    world.run(LATER)
    assert alice.of("ok") == [(2,), (6,)]
    assert world.router.accepted == 6
    assert done(store.store.fetch("bob", 0, 9, 99)) == []


def test_receipts_come_for_what_was_acknowledged_and_no_more() -> None:
    world, store = relay()
    alice, bob = sender(world), listener(world)
    alice.say(*kept(1, 6, receipt=True))
    bob.say(messages.ack(numbers(bob)[1]))
    assert [got[:2] for got in alice.of("got")] == [(1, b"bob"), (2, b"bob")]
    world.run(LATER)
    assert written(store)[0][:2] == (3, bodies(3, 6))
    for position, told in ((3, 4), (5, 6)):
        bob.say(messages.ack(numbers(bob)[position]))
        world.run(LATER)
        assert [got[0] for got in alice.of("got")] == list(range(1, told + 1))


def test_each_message_of_a_run_whose_time_ran_out_is_told() -> None:
    world, _ = relay()
    alice, bob = sender(world), listener(world)
    alice.say(*kept(1, 5, ttl=5))
    world.run(LATER)
    bob.say(messages.ack(numbers(bob)[1]))
    world.run(LATER)
    assert usage(world) == (3, 3)
    bob.drop()
    world.run(12)
    events = [body for kind, body in alice.of("event") if kind == b"expired"]
    assert [body.count(b'"seq":%d' % seq) for seq, body in zip((3, 4, 5), events, strict=True)] == [
        1,
        1,
        1,
    ]
    assert done(world.store.mailbox_state("bob")).total.count == 0
    assert seqs(listener(world)) == []
    assert usage(world) == (0, 0)
