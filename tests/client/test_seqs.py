"""Which messages of a stream were dealt with, whatever came in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securerelay.client import seqs as module
from securerelay.client.seqs import Seqs


@given(st.lists(st.integers(1, 60), max_size=80))
def test_it_holds_exactly_what_was_put_in_and_survives_being_written_down(numbers: list[int]):
    seqs = Seqs()
    for number in numbers:
        seqs.add(number)
    again = Seqs(seqs.highest, seqs.gaps)
    for each in (seqs, again):
        assert [number for number in range(1, 70) if number in each] == sorted(set(numbers))
    assert again.gaps == seqs.gaps


def test_a_stream_taken_in_order_is_one_number():
    seqs = Seqs()
    for number in range(1, 1000):
        seqs.add(number)
    assert (seqs.highest, seqs.gaps) == (999, "")


def test_gaps_are_written_shortly():
    seqs = Seqs()
    for number in (5, 7, 20):
        seqs.add(number)
    assert seqs.gaps == "1-4 6 8-19"


def test_the_memory_is_bounded_and_what_is_too_old_counts_as_seen(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MOST_GAPS", 3)
    seqs = Seqs()
    for number in range(2, 100, 2):
        seqs.add(number)
    assert seqs.gaps == "93 95 97"
    assert 91 in seqs
    assert 93 not in seqs
