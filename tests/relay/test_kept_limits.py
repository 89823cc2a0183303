"""Runs that only partly pass: by quotas, by what must be sealed, in rooms, in the journal."""

from __future__ import annotations

import pytest

from securerelay.protocol import messages
from securerelay.relay import journal
from tests.relay.test_kept_runs import LATER, bodies, kept, numbers, relay, usage, written
from tests.relay.test_kept_windows import sized
from tests.relay.test_mailbox import SOON, ack_all, listener, sender, seqs
from tests.relay.test_room_mail import here_later
from tests.relay.test_rooms import ROOM, here, made
from tests.relay.test_screen import DIRECT, strict
from tests.relay.world import Guest, Slow, World, done


def test_a_quota_keeps_the_first_of_a_run_and_refuses_the_next_for_good() -> None:
    world, store = relay(mailbox_messages=5, mailbox_sender_percent=100)
    alice = sender(world)
    alice.say(*kept(1, 8))
    assert alice.of("ok")[0] == (5,)
    assert alice.of("no") == [(seq, b"mailbox-full") for seq in (6, 7, 8)]
    assert written(store)[0] == (1, bodies(1, 5), 0)
    assert usage(world) == (5, 5)
    alice.take()
    alice.say(*kept(6, 8))
    assert alice.take() == [("no", seq, b"mailbox-full") for seq in (6, 7, 8)]
    bob = listener(world)
    assert seqs(bob) == [1, 2, 3, 4, 5]
    bob.say(messages.ack(numbers(bob)[1]))
    world.run(LATER)
    assert usage(world) == (3, 3)
    bob.drop()
    alice.say(*kept(9, 12))
    assert [seq for seq, _ in alice.of("no")] == [11, 12]
    assert usage(world) == (5, 6)
    assert world.router.accepted == 7


def test_a_quota_of_bytes_keeps_the_first_of_a_run() -> None:
    world, _ = relay(mailbox_bytes=65_536, message_bytes=65_536, mailbox_sender_percent=100)
    alice = sender(world)
    alice.say(*sized(b"bob", 1, [30_000, 30_000, 5_537, 5_536, 1]))
    world.run(LATER)
    assert alice.of("no") == [(3, b"mailbox-full"), (5, b"mailbox-full")]
    assert usage(world) == (3, 65_536)


def test_a_senders_part_of_a_mailbox_keeps_the_first_of_a_run() -> None:
    world, _ = relay(mailbox_messages=20, mailbox_sender_percent=20)
    alice, carol = sender(world), sender(world, "carol")
    alice.say(*kept(1, 6))
    assert alice.of("no") == [(5, b"mailbox-full"), (6, b"mailbox-full")]
    carol.say(*kept(1, 3))
    assert carol.of("no") == []


def test_a_run_that_window_and_quota_take_only_a_part_of() -> None:
    world, store = relay(window_messages=3, mailbox_messages=4, mailbox_sender_percent=100)
    alice, bob = sender(world), listener(world)
    alice.say(*kept(1, 10))
    assert [(row[0], row[1]) for row in written(store)[:2]] == [
        (1, bodies(1, 3)),
        (4, bodies(4, 7)),
    ]
    assert alice.of("no") == [(seq, b"mailbox-full") for seq in (8, 9, 10)]
    world.run(LATER)
    for _ in range(3):
        ack_all(bob)
    assert seqs(bob) == list(range(1, 8))
    assert usage(world) == (0, 0)
    assert world.router.accepted == 7


def test_a_part_of_a_run_that_is_acknowledged_before_it_is_written_frees_its_quota() -> None:
    world, store = relay()
    alice = sender(world)
    store.slow = {"append"}
    alice.say(*kept(1, 1))
    alice.say(*kept(2, 11))
    bob = listener(world)
    assert seqs(bob) == list(range(1, 12))
    assert usage(world) == (11, 13)
    bob.say(messages.ack(numbers(bob)[4]))
    assert usage(world) == (7, 9)  # the first is being written; 2 to 5 never will be
    store.answer()
    world.run(LATER)
    assert written(store)[1:] == [(6, bodies(6, 11), 1)]
    store.slow.clear()
    store.answer()
    world.run(LATER)
    assert usage(world) == (6, 8)
    ack_all(bob)
    assert usage(world) == (0, 0)


# --- the screen, rooms, the journal ---


def test_what_comes_before_an_unsealed_message_of_a_run_is_kept() -> None:
    world = strict()
    world.enrol("bob")
    alice = sender(world)
    sent = enumerate([DIRECT, DIRECT, b"plain", DIRECT], 1)
    alice.say(*(messages.send(seq, b"bob", None, False, body) for seq, body in sent))
    world.run(LATER)
    assert alice.of("no") == [(3, b"unsealed")]
    assert alice.of("ok")[-1] == (4,)
    assert [message[4] for message in here_later(world, "bob").of("msg")] == [1, 2, 4]


def test_several_messages_to_a_room_come_to_each_member_as_it_has_room_for_them() -> None:
    world, _ = relay(window_messages=4, mailbox_messages=6, mailbox_sender_percent=50)
    alice = made(world, "bob", "carol", "dave")
    dave = world.join("dave")
    dave.open()
    bob = here(world, "bob")
    filler = [messages.send(seq, b"carol", None, False, b"x") for seq in (1, 2)]
    alice.say(*filler)
    said = [messages.send(seq, ROOM, None, False, b"%d" % seq) for seq in range(3, 7)]
    alice.say(*said)
    world.run(LATER)
    assert alice.of("no") == []
    assert alice.of("ok")[-1] == (6,)
    assert bob.bodies() == [b"3", b"4", b"5", b"6"]
    assert here_later(world, "carol").bodies() == [b"x", b"x", b"3"]
    assert here_later(world, "dave").bodies() == [b"3", b"4", b"5"]
    missed = [(b"carol" in body, body) for kind, body in alice.of("event") if kind == b"missed"]
    assert [carols for carols, _ in missed] == [True, True, True, False]
    assert world.router.accepted == 6


def test_several_messages_to_a_room_are_taken_up_to_the_first_that_nobody_has_room_for() -> None:
    world, _ = relay(mailbox_messages=2, mailbox_sender_percent=100)
    alice = made(world, "bob", "carol")
    alice.say(*(messages.send(seq, ROOM, None, False, b"%d" % seq) for seq in (1, 2, 3)))
    assert alice.of("ok") == [(2,)]
    assert alice.of("no") == [(3, b"mailbox-full")]
    assert alice.of("event") == []
    assert usage(world) == (2, 2)
    for name in ("bob", "carol"):
        assert here_later(world, name).bodies() == [b"1", b"2"]


def test_a_member_who_acknowledges_what_waited_before_it_is_written_has_room_again() -> None:
    store = Slow("append")
    world = World(store=store)
    alice = made(world, "bob", "carol")
    alice.say(messages.send(1, b"carol", None, False, b""))  # is being written meanwhile
    alice.say(*(messages.send(seq, ROOM, None, False, b"x") for seq in (2, 3, 4)))
    assert usage(world) == (3, 3)
    bob = here_later(world, "bob")
    bob.say(messages.ack(numbers(bob)[1]))
    assert usage(world) == (1, 1)
    store.slow.clear()
    store.answer()
    world.run(LATER)
    assert usage(world) == (1, 1)
    assert done(store.store.mailbox_state("carol")).total.count == 4
    assert alice.of("ok")[-1] == (4,)


@pytest.mark.parametrize("most", [(5, 1 << 20), (1 << 20, 5)])
def test_a_sender_is_held_until_what_waits_is_few_enough(
    most: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "MOST_MESSAGES", most[0])
    monkeypatch.setattr(journal, "MOST_BYTES", most[1])
    world, _ = relay()
    world.enrol("carol")
    dave, alice = sender(world, "dave"), sender(world)
    for guest in (dave, alice):
        guest.send(1, b"carol")
    bob = listener(world)
    dave.mumble(messages.send(2, b"carol", None, False, b""))
    alice.say(*kept(2, 8))
    # What is for Carol is written at once; Bob has a moment to acknowledge what is for him.
    assert dave.of("ok")[-1] == (2,)
    assert alice.pipe.producerState == "paused"
    ack_all(bob)
    world.run(LATER)
    assert alice.pipe.producerState == "producing"


def hold(
    most: tuple[int, int], monkeypatch: pytest.MonkeyPatch, window: int = 1024
) -> tuple[Slow, Guest, Guest]:
    """Return a relay that writes one message, and what its journal holds; Bob listens."""
    monkeypatch.setattr(journal, "MOST_MESSAGES", most[0])
    monkeypatch.setattr(journal, "MOST_BYTES", most[1])
    world, store = relay("append", window_messages=window)
    alice, bob = sender(world), listener(world)
    alice.say(messages.send(1, b"alice", None, False, b""))
    world.run(LATER)
    assert store.count("append") == 1
    return store, alice, bob


@pytest.mark.parametrize("most", [(5, 1 << 20), (1 << 20, 5)])
def test_a_sender_is_held_once_more_waits_than_the_journal_may_hold(
    most: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, alice, bob = hold(most, monkeypatch)
    alice.say(*kept(2, 6))
    assert alice.world.router.status()["unwritten"] == 5
    assert alice.pipe.producerState == "producing"
    alice.say(*kept(7, 8))
    assert alice.world.router.status()["unwritten"] == 7
    assert alice.pipe.producerState == "paused"
    store.answer()
    alice.world.run(LATER)
    assert alice.pipe.producerState == "producing"
    assert alice.world.router.status()["unwritten"] == 0
    store.answer()
    alice.world.run(SOON)
    assert alice.of("ok")[-1] == (8,)
    assert seqs(bob) == [2, 3, 4, 5, 6, 7, 8]
    assert done(store.store.mailbox_state("bob")).total.count == 7


@pytest.mark.parametrize("most", [(5, 1 << 20), (1 << 20, 5)])
def test_the_journal_holds_nobody_for_what_was_acknowledged(
    most: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, alice, bob = hold(most, monkeypatch)
    alice.say(*kept(2, 8))
    assert alice.pipe.producerState == "paused"
    ack_all(bob)
    assert alice.of("ok") == []  # the first is still being written
    store.answer()
    alice.world.run(LATER)
    assert alice.of("ok")[-1] == (8,)
    assert alice.world.router.status()["unwritten"] == 0
    assert alice.pipe.producerState == "producing"
    assert store.count("append") == 1


def test_a_part_that_was_acknowledged_takes_the_rest_out_of_no_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, alice, bob = hold((1 << 20, 5), monkeypatch, window=3)
    alice.say(*kept(2, 7))
    assert alice.pipe.producerState == "paused", "both parts count"
    assert seqs(bob) == [2, 3, 4]
    ack_all(bob)
    store.slow.clear()
    store.answer()
    alice.world.run(LATER)
    assert alice.of("ok")[-1] == (7,)
    assert seqs(bob) == [2, 3, 4, 5, 6, 7]
    assert alice.pipe.producerState == "producing"
    assert written(store)[1:] == [(5, bodies(5, 7), 1)]
