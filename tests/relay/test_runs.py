"""Messages that come together: each is judged as if it had come alone."""

from __future__ import annotations

import random

import pytest

from securerelay.protocol import messages
from securerelay.relay.config import Config, Limits, PeerLimits
from tests.relay.test_mailbox import ack_all, burst, listener, sender, small
from tests.relay.test_room_mail import here_later
from tests.relay.test_rooms import ROOM, here, made
from tests.relay.world import Guest, World


def numbers(guest: Guest) -> list[int]:
    return [message[0] for message in guest.of("msg")]


def seqs(guest: Guest) -> list[int]:
    return [message[4] for message in guest.of("msg")]


def live(seq: int, to: bytes, size: int = 1) -> bytes:
    return messages.send(seq, to, 0, False, b"x" * size)


def test_a_part_of_what_came_together_can_be_acknowledged() -> None:
    world = small(window_messages=4)
    alice, bob = sender(world), listener(world)
    burst(alice, 1, 4, ttl=0)
    bob.say(messages.ack(numbers(bob)[1]))
    burst(alice, 5, 7, ttl=0)
    assert seqs(bob) == [1, 2, 3, 4, 5, 6]
    assert alice.of("no") == [(7, b"mailbox-full")]
    ack_all(bob)
    burst(alice, 8, 11, ttl=0)
    assert seqs(bob)[-4:] == [8, 9, 10, 11]


def test_the_bytes_of_an_acknowledged_part_are_free_again() -> None:
    world = small(window_bytes=65_536)
    alice, bob = sender(world), listener(world)
    sizes = [1, 40_000, 25_000, 20_000, 1]
    alice.say(*(live(seq, b"bob", size) for seq, size in enumerate(sizes, 1)))
    # The fourth overhangs, for there was room when it came.
    assert seqs(bob) == [1, 2, 3, 4]
    assert alice.of("no") == [(5, b"mailbox-full")]
    bob.say(messages.ack(numbers(bob)[0]))
    alice.say(live(6, b"bob"))
    assert alice.of("no")[1:] == [(6, b"mailbox-full")]
    bob.say(messages.ack(numbers(bob)[1]))
    alice.say(live(7, b"bob"))
    assert seqs(bob)[4:] == [7]


def test_receipts_come_for_each_message_of_an_acknowledged_part() -> None:
    world = small(window_messages=5)
    alice, bob = sender(world), listener(world)
    alice.say(*(messages.send(seq, b"bob", 0, True, b"") for seq in range(1, 7)))
    for position in (1, 2, 4):
        bob.say(messages.ack(numbers(bob)[position]))
    assert [got[0] for got in alice.of("got")] == [1, 2, 3, 4, 5]


def test_what_is_refused_among_many_holds_up_the_rest_and_loses_none_of_it() -> None:
    world = small(mailbox_messages=30, mailbox_sender_percent=10)
    alice = sender(world)
    burst(alice, 1, 6)
    assert alice.of("no") == [(4, b"mailbox-full"), (5, b"mailbox-full"), (6, b"mailbox-full")]
    assert alice.of("ok")[-1] == (3,)
    assert here_later(world, "bob").bodies() == [b"1", b"2", b"3"]


def test_what_nobody_can_be_asked_for_is_refused_one_by_one() -> None:
    world = World()
    alice = sender(world)
    alice.say(*(messages.send(seq, b"nobody", None, False, b"") for seq in range(1, 4)))
    assert alice.of("no") == [(seq, b"unknown") for seq in (1, 2, 3)]


def test_many_refused_messages_count_once_each_against_the_rate() -> None:
    world = World(Config(peer=PeerLimits(messages_per_second=1, messages_burst=100)))
    world.enrol("bob")
    alice = sender(world)
    burst(alice, 1, 90, ttl=0)
    assert alice.of("no") == [(seq, b"offline") for seq in range(1, 91)]
    burst(alice, 91, 102, ttl=0)
    assert {code for _, code in alice.of("no")[90:]} == {b"offline", b"rate", b"gap"}


def test_of_more_than_a_burst_only_a_burst_is_taken() -> None:
    world = World(Config(peer=PeerLimits(messages_per_second=1, messages_burst=10)))
    world.enrol("bob")
    alice = sender(world)
    burst(alice, 1, 50)
    assert alice.of("no") == [(11, b"rate")] + [(seq, b"gap") for seq in range(12, 51)]
    assert alice.of("ok")[-1] == (10,)


def test_of_more_bytes_than_a_burst_only_a_burst_is_taken() -> None:
    world = World(Config(peer=PeerLimits(bytes_per_second=65_536)))
    world.enrol("bob")
    alice = sender(world)
    alice.say(*(messages.send(seq, b"bob", None, False, bytes(8000)) for seq in range(1, 12)))
    assert alice.of("no")[0] == (9, b"rate")


def test_what_was_sent_before_gets_its_verdict_again_and_what_follows_is_taken() -> None:
    world = small()
    alice = sender(world)
    burst(alice, 1, 3)
    alice.take()
    burst(alice, 2, 5)
    assert alice.of("ok")[-1] == (5,)
    assert here_later(world, "bob").bodies() == [b"1", b"2", b"3", b"4", b"5"]


def test_live_messages_behind_kept_ones_are_ok_after_them() -> None:
    world = small()
    alice, bob = sender(world), listener(world)
    alice.say(messages.send(1, b"bob", None, False, b""), live(2, b"bob"), live(3, b"bob"))
    assert seqs(bob) == [1, 2, 3]
    assert alice.of("ok") == []
    ack_all(bob)
    assert alice.of("ok") == [(3,)]


def test_a_member_of_a_room_takes_what_its_window_has_room_for() -> None:
    world = World(Config(limits=Limits(window_messages=3)))
    alice = made(world, "bob", "carol")
    bob, carol = here(world, "bob"), here(world, "carol")
    alice.say(live(1, ROOM), live(2, ROOM))
    bob.say(messages.ack(numbers(bob)[-1]))
    alice.say(*(live(seq, ROOM) for seq in range(3, 8)))
    assert seqs(carol) == [1, 2, 3]
    assert seqs(bob) == [1, 2, 3, 4, 5]
    assert alice.of("ok")[-1] == (5,)
    assert alice.of("no") == [(6, b"offline"), (7, b"offline")]


def test_a_member_misses_only_those_messages_that_its_mailbox_has_no_room_for() -> None:
    world = World(Config(limits=Limits(mailbox_bytes=655_360, mailbox_sender_percent=10)))
    alice = made(world, "bob", "carol")
    carol = here(world, "carol")
    sizes = [40_000, 40_000, 10]
    said = (messages.send(seq, ROOM, None, False, bytes(n)) for seq, n in enumerate(sizes, 1))
    alice.say(*said)
    assert seqs(carol) == [1, 2, 3]
    assert [len(body) for body in here_later(world, "bob").bodies()] == [40_000, 10]
    assert [kind for kind, _ in alice.of("event")].count(b"missed") == 1


@pytest.mark.parametrize("seed", range(20))
def test_it_makes_no_difference_whether_messages_come_together(seed: int) -> None:
    rng = random.Random(seed)
    limits = Limits(window_messages=40, mailbox_messages=50, mailbox_sender_percent=50)
    script = []
    for _ in range(12):
        to, ttl = rng.choice([b"bob", b"carol", ROOM, b"none"]), rng.choice([None, 0, 60])
        script += [(to, ttl, bytes(rng.choice([1, 5]))) for _ in range(rng.randrange(1, 12))]
    outcomes = []
    for together in (True, False):
        world = World(Config(limits=limits))
        alice = made(world, "bob", "carol")
        bob = here(world, "bob")
        said = [messages.send(seq, to, ttl, False, b) for seq, (to, ttl, b) in enumerate(script, 1)]
        for record in [b"".join(said)] if together else said:
            alice.mumble(record)
        world.run(1)
        carol = here_later(world, "carol")
        outcomes.append(
            (
                sorted(alice.of("no")),
                alice.of("ok"),
                [(m[2], m[4], m[6]) for m in bob.of("msg")],
                [(m[2], m[4], m[6]) for m in carol.of("msg")],
                sorted(body for kind, body in alice.of("event") if kind == b"missed"),
            )
        )
    assert outcomes[0] == outcomes[1]
