"""Runs that only partly fit into a window, or come to one listener after the other."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from securerelay.protocol import messages
from securerelay.store.interface import StorageFull
from tests.relay.test_kept_runs import LATER, bodies, kept, numbers, relay, usage, written
from tests.relay.test_mailbox import ack_all, listener, sender, seqs

FULL = b"mailbox-full"


def sized(to: bytes, first: int, sizes: Sequence[int], ttl: int | None = None) -> list[bytes]:
    return [messages.send(seq, to, ttl, False, bytes(n)) for seq, n in enumerate(sizes, first)]


@pytest.mark.parametrize("window", [1, 2, 3, 9])
@pytest.mark.parametrize("pause", [0.0, LATER])
def test_a_run_larger_than_the_window_comes_as_the_window_has_room(
    window: int, pause: float
) -> None:
    world, _ = relay(window_messages=window)
    alice, bob = sender(world), listener(world)
    alice.say(*kept(1, 10))
    world.run(pause)
    for acked in range(10):
        assert seqs(bob) == list(range(1, min(acked + window, 10) + 1))
        bob.say(messages.ack(numbers(bob)[acked]))
        world.run(pause)
    assert alice.of("ok")[-1] == (10,)
    assert numbers(bob) == sorted(set(numbers(bob)))
    world.run(LATER)
    assert usage(world) == (0, 0)
    alice.say(*kept(11, 11, ttl=0))
    assert seqs(bob) == list(range(1, 12))
    assert world.router.accepted == world.router.delivered + 1 == 11


def test_the_part_of_a_run_that_fits_is_numbered_after_what_came_before() -> None:
    world, _ = relay(window_messages=3)
    alice, bob = sender(world), listener(world)
    alice.say(*kept(1, 2))
    ack_all(bob)
    alice.say(*kept(3, 8))
    world.run(LATER)
    ack_all(bob)
    first = numbers(bob)[0]
    assert numbers(bob) == list(range(first, first + 8))


def test_what_the_window_has_no_room_for_is_a_row_of_its_own() -> None:
    world, store = relay("append", window_messages=3)
    alice, bob = sender(world), listener(world)
    alice.say(*kept(1, 10))
    assert seqs(bob) == [1, 2, 3]
    assert written(store) == [(1, bodies(1, 3), 0), (4, bodies(4, 10), 3)]
    assert usage(world) == (7, 8)
    bob.say(messages.ack(numbers(bob)[2]))
    # They come from the store only, for in the window there is no room for all of them.
    assert seqs(bob) == [1, 2, 3]
    assert alice.of("ok") == [(3,)]
    store.answer()
    world.run(LATER)
    assert seqs(bob) == [1, 2, 3, 4, 5, 6]
    assert alice.of("ok")[-1] == (10,)
    assert usage(world) == (7, 8)


@pytest.mark.parametrize("ttl", [None, 0])
@pytest.mark.parametrize(
    ("sizes", "handed"),
    [
        ([40_000, 40_000], 2),
        ([40_000, 25_536, 1], 2),
        ([40_000, 25_535, 9, 1], 3),
        ([65_536, 0], 1),
        ([0, 0, 90_000], 3),
        ([90_000], 1),
    ],
)
def test_the_last_message_may_overhang_the_window(
    ttl: int | None, sizes: list[int], handed: int
) -> None:
    world, _ = relay(window_bytes=65_536)
    alice, bob = sender(world), listener(world)
    alice.say(*sized(b"bob", 1, sizes, ttl))
    world.run(LATER)
    assert seqs(bob) == list(range(1, handed + 1))
    alice.say(*kept(len(sizes) + 1, len(sizes) + 1, ttl=0))
    # Nothing is refused but what came: first of all no number that was not sent yet.
    missing = range(handed + 1, len(sizes) + 2) if ttl == 0 else [len(sizes) + 1]
    full = sum(sizes[:handed]) >= 65_536 or handed < len(sizes)
    assert alice.of("no") == ([(seq, b"mailbox-full") for seq in missing] if full else [])
    ack_all(bob)
    if ttl is None:
        ack_all(bob)
        assert seqs(bob)[: len(sizes)] == list(range(1, len(sizes) + 1))
    last = len(sizes) + 2
    alice.say(*kept(last, last))
    assert seqs(bob)[-1] == last


@pytest.mark.parametrize("ttl", [None, 0])
def test_the_bytes_of_a_run_acknowledged_in_parts_are_free_once(ttl: int | None) -> None:
    world, _ = relay(window_bytes=65_536)
    alice, bob = sender(world), listener(world)
    alice.say(*sized(b"bob", 1, [30_000, 30_000], ttl))
    for position in (0, 1):
        bob.say(messages.ack(numbers(bob)[position]))
    alice.say(*sized(b"bob", 3, [65_536, 1], 0))
    assert seqs(bob) == [1, 2, 3]


def test_who_waits_for_what_cannot_be_written_gets_live_messages_again() -> None:
    world, store = relay("append", window_messages=3)
    alice, bob = sender(world), listener(world)
    alice.say(*kept(1, 10))
    ack_all(bob)
    store.answer(StorageFull("no room"))
    store.slow.clear()
    world.run(LATER)
    assert alice.of("no")[0] == (4, b"storage-full")
    alice.say(*kept(4, 5, ttl=0))
    assert seqs(bob) == [1, 2, 3, 4, 5]
    assert usage(world) == (0, 0)


def test_nothing_of_a_run_is_handed_over_while_it_is_refused_for_now() -> None:
    world, store = relay("append", window_messages=4)
    alice, bob = sender(world), listener(world)
    alice.say(*kept(1, 10))
    assert seqs(bob) == [1, 2, 3, 4]
    alice.say(*kept(11, 12))
    ack_all(bob)
    # The first two would not fit together, the last would.
    assert seqs(bob) == [1, 2, 3, 4]
    store.answer(StorageFull("no room"))
    store.slow.clear()
    world.run(LATER)
    assert seqs(bob) == [1, 2, 3, 4]
    alice.say(*kept(5, 12))
    world.run(LATER)
    for _ in range(3):
        ack_all(bob)
    assert seqs(bob) == list(range(1, 13))


# --- listeners that come and go ---


def test_a_run_for_who_is_away_is_one_row_and_all_of_it_comes_later() -> None:
    world, store = relay()
    alice = sender(world)
    alice.say(*kept(1, 10))
    assert written(store) == [(1, bodies(1, 10), 0)]
    peer = world.router.find("bob")
    assert peer is not None
    assert peer.idle, "nothing of it is kept in memory"
    bob = listener(world)
    ((first, last),) = bob.of("listen")
    assert (first, last) == (numbers(bob)[0], numbers(bob)[-1])
    assert seqs(bob) == list(range(1, 11))


@pytest.mark.parametrize("state", ["queued", "taken", "stored"])
@pytest.mark.parametrize("after", [0, 1, 4, 9, 10])
def test_who_listens_after_a_number_inside_a_run_gets_the_next(state: str, after: int) -> None:
    world, store = relay()
    alice = sender(world)
    first = listener(world)
    store.slow = {"append"} if state != "stored" else set()
    if state == "queued":
        alice.say(messages.send(1, b"alice", None, False, b""))  # is being written meanwhile
        world.run(LATER)
    start = 2 if state == "queued" else 1
    alice.say(*kept(start, start + 9))
    world.run(LATER)
    assert len(written(store)) == 1
    given = numbers(first)
    again = listener(world, after=given[0] + after - 1)
    ((oldest, newest),) = again.of("listen")
    assert (oldest, newest) == (given[0], given[-1])
    # Part of a run comes from the store alone; nothing comes out of order or twice meanwhile.
    expected = list(range(start + after, start + 10))
    assert seqs(again) == (expected if state == "stored" or after in (0, 10) else [])
    while store.waiting:
        store.answer()
        world.run(LATER)
    assert seqs(again) == expected
    assert numbers(again) == given[after:]
    alice.say(*kept(start + 10, start + 10, ttl=0))
    assert seqs(again)[-1] == start + 10
    again.say(messages.ack(numbers(again)[-1]))
    world.run(LATER)
    while store.waiting:
        store.answer()
        world.run(LATER)
    assert usage(world) == (0, 0)


def test_who_has_a_whole_run_gets_what_comes_next_at_once_and_may_acknowledge_it() -> None:
    world, store = relay("append", window_messages=4)
    alice, bob = sender(world), listener(world)
    alice.say(*kept(1, 3))
    bob.attend(numbers(bob)[-1])
    alice.say(*kept(4, 4, ttl=0))
    assert seqs(bob) == [1, 2, 3, 4]
    bob.say(messages.ack(numbers(bob)[-1]))
    assert alice.of("ok") == [(4,)]
    world.run(LATER)
    assert written(store) == []


@pytest.mark.parametrize("error", [None, StorageFull("no room")])
def test_what_a_listener_has_takes_no_room_in_its_window_once_it_is_not_awaited_any_more(
    error: Exception | None,
) -> None:
    world, store = relay("append", window_messages=3)
    alice, bob = sender(world), listener(world)
    alice.say(*kept(1, 3))
    world.run(LATER)
    store.slow.add("fetch")
    bob.attend(numbers(bob)[-1])
    store.answer(error)
    store.slow.clear()
    while store.waiting:
        store.answer()
        world.run()
    alice.say(*kept(1 if error else 4, 3 if error else 6, ttl=0))
    assert len(seqs(bob)) == 6


@pytest.mark.parametrize("error", [None, StorageFull("no room")])
@pytest.mark.parametrize("count", [2, 5])
def test_a_run_that_is_settled_while_a_page_is_read_is_read_with_the_next(
    error: Exception | None, count: int
) -> None:
    world, store = relay(window_messages=3)
    alice = sender(world)
    alice.say(*kept(1, 1))
    bob = world.join("bob")
    store.stale = {"fetch"}
    store.slow = {"append", "fetch"}
    bob.attend()
    store.answer()  # says only which is the first
    world.run()
    alice.say(*kept(2, count + 1))
    store.waiting.reverse()
    store.answer(error)
    world.run()
    assert seqs(bob) == []
    store.slow = set()
    while store.waiting:
        store.answer()
        world.run()
    assert seqs(bob) == ([1] if error else [1, 2, 3])
    alice.say(*kept(2 if error else count + 2, 2 if error else count + 2, ttl=0))
    assert alice.of("no")[count if error else 0 :] == ([] if error else [(count + 2, FULL)])


@pytest.mark.parametrize("how", ["replaced", "lost"])
@pytest.mark.parametrize("state", ["queued", "taken", "stored"])
def test_the_next_listener_gets_what_was_not_acknowledged_of_a_run(how: str, state: str) -> None:
    world, store = relay()
    store.slow = set() if state == "stored" else {"append"}
    alice, old = sender(world), listener(world)
    alice.say(*kept(1, 10))
    if state != "queued":
        world.run(LATER)
    old.say(messages.ack(numbers(old)[3]))
    if state == "stored":
        world.run(LATER)
    if how == "lost":
        old.drop()
    new = listener(world)
    ((oldest, _),) = new.of("listen")
    if state != "taken":
        assert oldest == numbers(old)[4]
        assert seqs(new) == [5, 6, 7, 8, 9, 10]
    if state == "taken":
        new.say(messages.ack(numbers(old)[5]))  # whoever of the peer it was that got them
        store.answer()
        world.run(LATER)
        assert seqs(new) == [7, 8, 9, 10]
    elif how == "replaced":
        old.say(messages.ack(numbers(old)[5]))
    store.slow.clear()
    while store.waiting:
        store.answer()
    world.run(LATER)
    ack_all(new)
    assert alice.of("ok")[-1] == (10,)
    assert usage(world) == (0, 0)
    alice.say(*kept(11, 11, ttl=0))
    assert seqs(new)[-1] == 11


def test_what_waits_again_of_a_run_can_be_acknowledged_in_parts_before_it_is_written() -> None:
    world, store = relay()
    alice, bob = sender(world), listener(world)
    alice.say(*kept(1, 10, receipt=True))
    given = numbers(bob)
    other = world.join("bob")
    other.say(messages.listen(given[3]))
    for acked in (1, 2, 6):
        bob.say(messages.ack(given[acked - 1]))
        assert alice.of("ok")[-1] == (acked,)
        assert len(alice.of("got")) == acked
    world.run(LATER)
    assert written(store) == [(7, bodies(7, 10), 0)]
    assert seqs(other) == [7, 8, 9, 10]
    ack_all(other)
    assert usage(world) == (0, 0)
    assert len(alice.of("got")) == 10


@pytest.mark.parametrize("together", [True, False])
def test_what_was_acknowledged_elsewhere_while_it_was_read_fills_no_window(together: bool) -> None:
    world, store = relay(window_messages=3)
    alice = sender(world)
    for said in [kept(1, 7)] if together else [[one] for one in kept(1, 7)]:
        alice.say(*said)
    old, new = listener(world), world.join("bob")
    store.slow = store.stale = {"fetch"}
    new.attend()
    store.answer()
    world.run()
    old.say(messages.ack(numbers(old)[2]))
    store.slow = set()
    while store.waiting:
        store.answer()
        world.run(LATER)
    assert seqs(new) == [4, 5, 6]
    ack_all(new)
    assert seqs(new) == [4, 5, 6, 7]
