"""Receivers notice what is missing, late or twice; senders tell what never comes."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from securerelay.sealing.numbers import Arrival, Course, Head, Ledger, heads, is_double, settles
from securerelay.sealing.plaintext import Place
from securerelay.sealing.verdicts import Rejected, Verdict
from tests.sealing.world import DAY, MS, STREAM, message, refused

# How fast this machine is at the moment is not what is tested.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def arrived(*indices: int) -> Ledger:
    ledger = Ledger()
    for index in indices:
        ledger, _ = ledger.arrive(index)
    return ledger


def test_nothing_is_missing_when_all_come_in_order() -> None:
    assert arrived(1, 2, 3) == Ledger(3)


def test_a_jump_is_shown_as_missing_and_filled_in_by_late_ones() -> None:
    ledger, arrival = arrived(1).arrive(4)
    assert (arrival, ledger.missing) == (Arrival(missing=2), (2, 3))
    ledger, arrival = ledger.arrive(3)
    assert (arrival, ledger.missing) == (Arrival(late=True), (2,))


def test_a_stream_whose_beginning_does_not_come_misses_it() -> None:
    assert Ledger().arrive(3)[1] == Arrival(missing=2)


def test_what_was_finally_refused_is_not_missing() -> None:
    ledger, arrival = arrived(1).arrive(5, skipped=(2, 4))
    assert (arrival, ledger.missing) == (Arrival(missing=1), (3,))
    ledger, arrival = ledger.arrive(6, skipped=(2, 3, 4))
    assert (arrival, ledger.missing) == (Arrival(), ())


def test_live_messages_are_not_counted() -> None:
    ledger, arrival = arrived(1, 3).arrive(0, skipped=(2,))
    assert (ledger, arrival) == (Ledger(3), Arrival())
    assert Ledger().arrive(0) == (Ledger(), Arrival())


def test_an_index_that_another_message_had_is_refused() -> None:
    with refused(Verdict.ALTERED):
        arrived(1, 2).arrive(2)


def test_heads_show_a_tail_or_a_whole_stream_that_was_dropped() -> None:
    assert arrived(1, 2).told(5) == (Ledger(5, (3, 4, 5)), Arrival(missing=3))
    assert Ledger().told(2) == (Ledger(2, (1, 2)), Arrival(missing=2))
    assert arrived(1, 2).told(2) == (Ledger(2), Arrival())


def test_a_replaced_message_counts_as_arrived() -> None:
    assert arrived(1, 3).settle(2) == (Ledger(3), Arrival(late=True))
    assert arrived(1).settle(2) == (Ledger(2), Arrival())
    assert arrived(1).settle(3) == (Ledger(3, (2,)), Arrival(missing=1))
    assert arrived(1, 2).settle(1) == (Ledger(2), Arrival())


def test_a_newcomer_to_a_room_misses_nothing_from_before() -> None:
    ledger, arrival = Ledger.joined(58).arrive(58)
    assert (ledger.highest, arrival) == (58, Arrival())
    assert ledger.arrive(57)[1] == Arrival(late=True)
    assert ledger.arrive(61)[0].missing == (59, 60)
    assert Ledger.joined(0).arrive(1)[1] == Arrival()
    assert Ledger.joined(1) == Ledger()


def test_a_gap_without_end_costs_little_and_is_counted_right() -> None:
    ledger, arrival = arrived(1).arrive(2**63)
    assert arrival.missing == 2**63 - 2
    assert len(ledger.missing) == 4096
    assert ledger.missing[-1] == 2**63 - 1
    assert ledger.arrive(5)[1] == Arrival(late=True)
    assert ledger.missing[0] == 2**63 - 4096
    assert ledger.arrive(2**63 - 4097)[1] == Arrival(late=True)  # the newest of those forgotten
    ledger, _ = ledger.arrive(2**63 - 1)
    with refused(Verdict.ALTERED):
        ledger.arrive(2**63 - 1)


@PATIENT
@given(
    st.lists(
        st.tuples(st.sampled_from(["arrive", "settle", "told"]), st.integers(1, 40)), max_size=60
    )
)
def test_the_account_agrees_with_one_kept_by_hand(events: list[tuple[str, int]]) -> None:
    ledger, there, known = Ledger(), set(), 0
    for what, index in events:
        before = {one for one in range(1, known + 1) if one not in there}
        if what == "arrive" and index in there:
            with refused(Verdict.ALTERED):
                ledger.arrive(index)
            continue
        ledger, arrival = getattr(ledger, what)(index)
        known = max(known, index)
        if what != "told":
            there.add(index)
        after = {one for one in range(1, known + 1) if one not in there}
        assert (ledger.highest, ledger.missing) == (known, tuple(sorted(after)))
        assert arrival == Arrival(len(after - before), index in before and what != "told")


@PATIENT
@given(st.lists(st.integers(1, 20_000), min_size=1, max_size=40))
def test_however_much_is_missing_no_index_that_came_is_taken_twice(indices: list[int]) -> None:
    ledger, came = Ledger(), set()
    for index in indices:
        try:
            ledger, arrival = ledger.arrive(index)
        except Rejected:
            assert index in came
            continue
        assert index not in came or index <= ledger.forgotten
        came.add(index)
        assert len(ledger.missing) <= 4096
        assert arrival.missing >= 0
        low = ledger.forgotten
        assert all(low < one < ledger.highest and one not in came for one in ledger.missing)


def test_a_message_sent_anew_is_dropped_if_the_refused_one_came_all_the_same() -> None:
    anew = message(replaces=Place(STREAM, 5, 2))
    assert settles(anew) == ((STREAM, 7), (STREAM, 5))
    assert settles(message()) == ((STREAM, 7),)
    for accepted in ({(STREAM, 5)}, {(STREAM, 7)}):
        assert is_double(anew, lambda *key, accepted=accepted: key in accepted)
    assert not is_double(anew, lambda *key: key == (STREAM, 6))


def test_a_sender_counts_each_recipient_from_one_and_tells_all_that_was_refused() -> None:
    course = Course().next().next().next()
    assert course.last == 3
    assert course.refuse(3).refuse(1).refuse(3).skipped == (1, 3)


def test_after_sixty_four_refusals_a_new_stream_is_needed() -> None:
    course = Course()
    for _ in range(64):
        course = course.next().refuse(course.last + 1)
    assert not course.full
    assert course.next().refuse(65).full


def test_a_new_stream_tells_of_the_eight_newest_others() -> None:
    others = [Head(bytes((number,)) * 16, MS - number, number) for number in range(1, 12)]
    assert heads(reversed(others), MS) == tuple((one.stream, one.last) for one in others[:8])


def test_streams_without_an_ok_or_that_receivers_may_have_forgotten_are_not_told() -> None:
    assert heads([Head(STREAM, MS, 0), Head(STREAM, MS - 30 * DAY, 5)], MS) == ()


@pytest.mark.parametrize("age", [0, 30 * DAY - 1])
def test_younger_streams_are_told(age: int) -> None:
    assert heads([Head(STREAM, MS - age, 5)], MS) == ((STREAM, 5),)
