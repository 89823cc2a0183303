"""No sender holds everybody up: what costs much is done in parts, and others come in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from unittest.mock import Mock

import pytest

from securerelay.protocol import messages
from securerelay.relay.audience import MEMBERS_FOR_ONE
from securerelay.relay.config import Config, PeerLimits
from securerelay.relay.router import WRITTEN_AT_ONCE
from securerelay.relay.stream import A_TURN, KEPT
from tests.relay.test_rooms import ROOM, here, made
from tests.relay.test_screen import DIRECT, strict
from tests.relay.world import STREAM, Guest, Slow, World

MEMBERS = 40
COST = 1 + MEMBERS // MEMBERS_FOR_ONE
FEW = PeerLimits(messages_per_second=10_000, messages_burst=10_000)


class Turns:
    """A relay's turns, one at a time."""

    def __init__(self, world: World) -> None:
        self._next: list[Callable[[], object]] = []
        world.router.later = self._next.append  # type: ignore[method-assign]

    def __iter__(self) -> Iterator[int]:
        """Have turns for as long as there is anything to do."""
        turn = 0
        while self._next:
            due = self._next[:]
            del self._next[: len(due)]
            for one in due:
                one()
            turn += 1
            yield turn


def settle(world: World, turns: Turns) -> None:
    """Let everything happen that there is to do."""
    for _ in range(20):
        world.run(0.1)
        list(turns)
    world.run()


def room_of_many() -> tuple[World, Guest, Guest]:
    world = World(Config(peer=FEW))
    alice = made(world, *(f"m{number}" for number in range(MEMBERS)))
    return world, alice, here(world, "m0")


def said(count: int, ttl: int | None) -> bytes:
    return b"".join(
        messages.send(seq, ROOM, ttl, False, b"%d" % seq) for seq in range(1, count + 1)
    )


@pytest.mark.parametrize(("ttl", "each"), [(None, COST * KEPT), (0, COST)])
def test_messages_to_a_room_are_taken_a_part_each_turn_and_all_in_order(
    ttl: int | None, each: int
) -> None:
    world, alice, member = room_of_many()
    stream = alice.wire.session.sending
    turns = Turns(world)
    count = 3 * (A_TURN // each) - 1
    alice.say(said(count, ttl))
    assert stream.entered == A_TURN // each
    assert alice.pipe.producerState == "paused"
    assert [stream.entered for _ in turns][0:2] == [2 * (A_TURN // each), count]
    assert alice.pipe.producerState == "producing"
    settle(world, turns)
    assert member.bodies() == [b"%d" % seq for seq in range(1, count + 1)]
    assert alice.of("ok")[-1] == (count,)


def test_what_is_said_one_by_one_counts_too() -> None:
    world, alice, _ = room_of_many()
    stream = alice.wire.session.sending
    turns = Turns(world)
    for seq in range(1, 2 * A_TURN // COST):
        alice.say(messages.send(seq, ROOM, 0, seq % 2 == 0, b""))
    assert stream.entered == A_TURN // COST
    settle(world, turns)
    assert stream.entered == 2 * A_TURN // COST - 1


def test_a_message_to_more_than_a_turn_has_room_for_is_taken_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("securerelay.relay.stream.A_TURN", 1)
    world, alice, member = room_of_many()
    turns = Turns(world)
    alice.say(said(3, 0))
    assert [alice.wire.session.sending.entered for _ in turns][0:2] == [2, 3]
    settle(world, turns)
    assert member.bodies() == [b"1", b"2", b"3"]


def test_what_came_with_a_message_that_is_refused_follows_in_order() -> None:
    world = strict()
    alice = made(world, *(f"m{number}" for number in range(MEMBERS)))
    member = here(world, "m0")
    bodies = [DIRECT if seq % 30 else b"plain" for seq in range(1, 101)]
    alice.say(*(messages.send(seq, ROOM, None, False, body) for seq, body in enumerate(bodies, 1)))
    world.run(5)
    assert alice.of("no") == [(seq, b"unsealed") for seq in (30, 60, 90)]
    assert alice.of("ok")[-1] == (100,)
    assert [message[4] for message in member.of("msg")] == [
        seq for seq in range(1, 101) if seq % 30
    ]


def test_what_still_waits_for_its_turn_goes_with_its_session_and_comes_again() -> None:
    world, alice, member = room_of_many()
    turns = Turns(world)
    alice.say(said(100, 0))
    came = alice.wire.session.sending.entered
    assert 0 < came < 100
    alice.drop()
    settle(world, turns)
    assert member.bodies() == [b"%d" % seq for seq in range(1, came + 1)]
    again = world.join("alice")
    again.say(messages.stream(STREAM, 0))
    settle(world, turns)
    assert again.of("stream")[-1] == (STREAM, came)


def test_a_turn_that_was_waited_for_is_nothing_to_who_opens_the_stream_next() -> None:
    world = World(Config(peer=FEW), store=(store := Slow()))
    alice = made(world, *(f"m{number}" for number in range(MEMBERS)))
    member = here(world, "m1")
    store.slow.add("append")
    turns = Turns(world)
    alice.say(said(100, None))
    came = alice.wire.session.sending.entered
    alice.drop()
    again = world.join("alice")
    again.say(messages.stream(STREAM, 0))
    store.slow.add("lookup")
    again.say(
        messages.send(came + 1, b"nobody", None, False, b"1"),
        messages.send(came + 2, b"m1", None, False, b"2"),
    )
    list(turns)
    while store.waiting:
        store.answer()
        settle(world, turns)
    assert again.of("no") == [(came + 1, b"unknown")]
    assert member.bodies()[-1] == b"2"


def test_one_peer_is_not_kept_waiting_by_a_room() -> None:
    world, alice, _ = room_of_many()
    bob, carol = here(world, "m1"), world.join("m2")
    carol.open()
    turns = Turns(world)
    alice.say(said(300, 0))
    carol.send(1, b"m1", b"soon")
    next(iter(turns))
    world.run()
    assert b"soon" in bob.bodies()
    assert alice.wire.session.sending.entered < 300


def test_a_few_sessions_are_written_to_and_the_others_in_the_next_turn() -> None:
    world = World()
    turns = Turns(world)
    sessions = [Mock() for _ in range(2 * WRITTEN_AT_ONCE + 1)]
    for session in sessions:
        world.router.mark(session)
    written = [sum(session.flush.called for session in sessions) for _ in turns]
    assert written == [WRITTEN_AT_ONCE, 2 * WRITTEN_AT_ONCE, 2 * WRITTEN_AT_ONCE + 1]
    assert all(session.flush.call_count == 1 for session in sessions)
