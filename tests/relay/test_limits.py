"""Limits on strangers and peers, with a clock that the tests move."""

from __future__ import annotations

from dataclasses import replace

import pytest
from twisted.internet.task import Clock

from securerelay.relay.config import Limits
from securerelay.relay.limits import UNIX, CpuShare, Gate, TokenBucket, source_of

LIMITS = Limits(unauthenticated=8, unauthenticated_per_source=2)


class Guest:
    """A connection that can be told to go."""

    gone = False

    def give_way(self) -> None:
        self.gone = True


def gate(clock: Clock, limits: Limits = LIMITS, chance: float = 1.0) -> Gate:
    return Gate(limits, clock.seconds, lambda: chance)


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        (None, UNIX),
        ("not an address", UNIX),
    ],
)
def test_an_address_is_counted_by_what_one_stranger_has(host: str | None, source: str) -> None:
    assert source_of(host) == source


class TestTokenBucket:
    def test_it_gives_a_burst_and_then_its_rate(self) -> None:
        clock = Clock()
        bucket = TokenBucket(2, 4, clock.seconds)
        assert [bucket.take() for _ in range(4)] == [0.0] * 4
        assert bucket.take() == 0.5
        clock.advance(0.5)
        assert bucket.take() == 0.0
        assert bucket.take() == 0.5

    def test_a_refusal_takes_nothing(self) -> None:
        clock = Clock()
        bucket = TokenBucket(1, 2, clock.seconds)
        assert bucket.take(2) == 0.0
        clock.advance(1)
        assert bucket.take(2) == 1.0
        assert bucket.take(1) == 0.0

    def test_it_saves_no_more_than_its_burst(self) -> None:
        clock = Clock()
        bucket = TokenBucket(1, 2, clock.seconds)
        clock.advance(100)
        assert bucket.take(2) == 0.0
        assert bucket.take(1) == 1.0

    def test_one_thing_larger_than_the_burst_passes_and_is_paid_for(self) -> None:
        clock = Clock()
        bucket = TokenBucket(10, 10, clock.seconds)
        assert bucket.take(30) == 0.0
        assert bucket.take(1) == pytest.approx(2.1)
        clock.advance(2.1)
        assert bucket.take(1) == 0.0

    def test_a_new_rate_counts_from_now(self) -> None:
        clock = Clock()
        bucket = TokenBucket(1, 10, clock.seconds)
        bucket.change(5, 5)
        assert bucket.take(5) == 0.0
        assert bucket.take(5) == 1.0


class TestGate:
    def test_one_source_holds_no_more_than_its_places(self) -> None:
        door = gate(Clock())
        assert door.arrived("192.0.2.1")
        assert door.arrived("192.0.2.1")
        assert not door.arrived("192.0.2.1")
        assert door.arrived("192.0.2.2")
        assert door.refused == 1

    def test_a_place_is_free_again_when_its_holder_authenticates_or_leaves(self) -> None:
        door = gate(Clock())
        for _ in range(2):
            assert door.arrived("192.0.2.1")
        door.authenticated("192.0.2.1")
        assert door.arrived("192.0.2.1")
        door.left("192.0.2.1")
        assert door.arrived("192.0.2.1")
        assert not door.arrived("192.0.2.1")
        assert door.unauthenticated == 2

    def test_local_sockets_share_the_places_of_all_but_have_no_limit_of_their_own(self) -> None:
        door = gate(Clock())
        assert all(door.arrived(UNIX) for _ in range(8))
        assert not door.arrived(UNIX)

    def test_the_last_place_is_the_last(self) -> None:
        door = gate(Clock())
        assert all(door.arrived(f"192.0.2.{n}") for n in range(8))
        assert not door.arrived("192.0.2.99")

    def test_above_half_connections_are_dropped_at_random_and_more_so_the_fuller_it_is(
        self,
    ) -> None:
        clock, chances = Clock(), [0.0]
        door = Gate(LIMITS, clock.seconds, lambda: chances[0])
        assert all(door.arrived(f"192.0.2.{n}") for n in range(4)), "never below half"
        assert door.arrived("192.0.2.10"), "at exactly half the chance to be dropped is nothing"
        assert not door.arrived("192.0.2.11"), "five of eight: dropped in one of four cases"
        chances[0] = 0.3
        assert door.arrived("192.0.2.11")
        assert not door.arrived("192.0.2.12"), "six of eight: dropped in two of four cases"

    def test_above_half_the_oldest_that_did_not_knock_gives_way(self) -> None:
        door = Gate(LIMITS, Clock().seconds, lambda: 0.0)
        guests = [Guest() for _ in range(6)]
        for n, guest in enumerate(guests[:4]):
            assert door.arrived(f"192.0.2.{n}", guest)
        door.knocked(guests[0])
        door.left("192.0.2.1", guests[1])
        assert door.arrived("192.0.2.4", guests[4])
        assert door.arrived("192.0.2.5", guests[5])
        assert [guest.gone for guest in guests] == [False, False, True, False, False, False]
        assert (door.unauthenticated, door.refused) == (4, 1)
        for guest in guests[3:]:
            door.knocked(guest)
        assert door.arrived("192.0.2.6", Guest()), "at half the chance to be dropped is nothing"
        assert door.unauthenticated == 5

    def test_who_was_admitted_can_give_way_to_the_next(self) -> None:
        door = gate(Clock())
        assert all(door.arrived(f"192.0.2.{n}", Guest()) for n in range(100))
        assert (door.unauthenticated, door.refused) == (4, 96)

    def test_penalties_add_up_and_act_from_fifteen_seconds(self) -> None:
        clock = Clock()
        door = gate(clock)
        door.penalise("192.0.2.1", "failed")
        door.penalise("192.0.2.1", "failed")
        assert door.arrived("192.0.2.1")
        door.penalise("192.0.2.1", "protocol")
        assert not door.arrived("192.0.2.1")
        assert door.arrived("192.0.2.2")
        assert door.penalties() == {"192.0.2.1": 15.0}
        assert door.penalised() == 1
        clock.advance(14)
        assert not door.arrived("192.0.2.1"), "it acts until it has run out"
        clock.advance(2)
        assert door.arrived("192.0.2.1")
        assert door.penalties() == {}
        assert door.penalised() == 0

    def test_the_moment_when_a_penalty_begins_to_act_is_told_once(self) -> None:
        clock = Clock()
        door = gate(clock)
        assert [door.penalise("192.0.2.1", "failed") for _ in range(5)] == [
            False, False, True, False, False,
        ]  # fmt: skip
        clock.advance(30)
        assert [door.penalise("192.0.2.1", "timeout") for _ in range(2)] == [False, True]

    def test_reasons_of_refusals_are_counted(self) -> None:
        door = gate(Clock())
        for _ in range(3):
            door.penalise("192.0.2.1", "failed")
        assert not door.arrived("192.0.2.1")
        assert [door.arrived("192.0.2.2", Guest()) for _ in range(3)] == [True, True, False]
        assert all(door.arrived(f"192.0.2.{n}", Guest()) for n in (3, 4, 5))
        assert door.refusals == {"penalty": 1, "source": 1, "gave-way": 1}
        full = gate(Clock())
        assert not all(full.arrived(f"192.0.2.{n}") for n in range(9))
        assert full.refusals == {"full": 1}

    def test_penalties_that_run_out_do_not_add_up(self) -> None:
        clock = Clock()
        door = gate(clock)
        for _ in range(10):
            door.penalise("192.0.2.1", "failed")
            clock.advance(6)
        assert door.arrived("192.0.2.1")

    def test_a_penalty_ends_after_ten_minutes_at_the_latest(self) -> None:
        clock = Clock()
        door = gate(clock)
        for _ in range(1000):
            door.penalise("192.0.2.1", "timeout")
        assert door.penalty("192.0.2.1") == 600
        clock.advance(601)
        assert door.penalty("192.0.2.1") == 0

    def test_local_sockets_are_never_penalised(self) -> None:
        door = gate(Clock())
        for _ in range(100):
            door.penalise(UNIX, "failed")
        assert door.penalty(UNIX) == 0

    def test_the_table_of_penalties_forgets_the_quietest_source(self) -> None:
        door = gate(Clock(), replace(LIMITS, penalty_sources=2))
        for n in (1, 2, 1, 3):
            for _ in range(3):
                door.penalise(f"192.0.2.{n}", "failed")
        assert set(door.penalties()) == {"192.0.2.1", "192.0.2.3"}

    def test_the_administrator_lifts_one_penalty_or_all(self) -> None:
        door = gate(Clock())
        for n in (1, 2, 3):
            for _ in range(3):
                door.penalise(f"192.0.2.{n}", "failed")
        assert door.lift("192.0.2.1") == 1
        assert door.lift("192.0.2.9") == 0
        assert set(door.penalties()) == {"192.0.2.2", "192.0.2.3"}
        assert door.lift() == 2
        assert door.arrived("192.0.2.2")

    def test_new_limits_keep_what_is_counted(self) -> None:
        door = gate(Clock())
        assert door.arrived("192.0.2.1")
        door.change(replace(LIMITS, unauthenticated_per_source=1))
        assert not door.arrived("192.0.2.1")


class TestCpuShare:
    def test_handshakes_wait_while_their_share_is_overdrawn(self) -> None:
        clock, cpu = Clock(), [0.0]
        share = CpuShare(40, clock.seconds, lambda: cpu[0])
        with share.measured():
            cpu[0] += 0.3
        assert share.wait() == 0
        share.charge(0.3)
        assert share.wait() == pytest.approx(0.5), "0.2 s too much at 0.4 s a second"
        clock.advance(0.5)
        assert share.wait() == 0

    def test_what_fails_is_charged_too(self) -> None:
        clock, cpu = Clock(), [0.0]
        share = CpuShare(40, clock.seconds, lambda: cpu[0])

        def fail() -> None:
            with share.measured():
                cpu[0] += 1
                raise ValueError("bad")

        with pytest.raises(ValueError, match="bad"):
            fail()
        assert share.wait() > 1

    def test_a_larger_share_is_earned_faster(self) -> None:
        clock = Clock()
        share = CpuShare(40, clock.seconds)
        share.change(80)
        share.charge(1.2)
        assert share.wait() == pytest.approx(1.0)
