"""Every short sequence of symbols does what the protocol draws, and only its path lets anybody in.

With AALpy at hand the machine is also learnt from the outside and compared with the drawing.
"""

from __future__ import annotations

import itertools
import random

import pytest

from tests.hostile.machine import DRAWN, SYMBOLS, Asked

DEPTH = 3
LEARNT = tuple(
    symbol
    for symbol in SYMBOLS
    if symbol
    not in {"overheard", "stranger", "suite", "group", "err", "verb", "empty", "alert", "flipped"}
)
"""Leaves out what is refused in the same way as something that is here, to save time."""
LETS_IN = {
    ("hello", "proof"),
    ("second", "proof"),
    ("ticket", "short"),
    ("hello", "enrol"),
    ("second", "enrol"),
    ("first", "second", "proof"),
    ("first", "second", "enrol"),
}


@pytest.mark.parametrize("first", SYMBOLS)
def test_every_sequence_of_three_symbols_does_what_is_drawn(first: str) -> None:
    for rest in itertools.product(SYMBOLS, repeat=DEPTH - 1):
        asked, state = Asked(), "start"
        sequence = (first, *rest)
        for symbol in sequence:
            expected, state = DRAWN[state][symbol]
            assert asked.say(symbol) == expected, sequence
        reached = any(sequence[:length] in LETS_IN for length in (2, 3))
        assert asked.established == reached, sequence


def test_the_drawing_is_whole_and_every_state_of_it_is_reached() -> None:
    reached, new = {"start"}, ["start"]
    while new:
        for _, state in DRAWN[new.pop()].values():
            if state not in reached:
                reached.add(state)
                new.append(state)
    assert reached == set(DRAWN)
    for table in DRAWN.values():
        assert set(table) == set(SYMBOLS)


@pytest.mark.parametrize(
    "path",
    [
        ("hello", "proof", "offer", "done", "update", "data", "close"),
        ("hello", "proof", "update", "offer", "data", "done", "offer"),
        ("ticket", "short", "data", "offer", "done", "data", "alert"),
        ("first", "second", "proof", "offer", "close", "data"),
        ("first", "second", "enrol", "update", "close", "hello"),
        ("hello", "enrol", "offer", "done", "close"),
    ],
)
def test_longer_ways_do_what_is_drawn(path: tuple[str, ...]) -> None:
    for length in range(len(path)):
        for last in SYMBOLS:
            asked, state = Asked(), "start"
            for symbol in (*path[:length], last):
                expected, state = DRAWN[state][symbol]
                assert asked.say(symbol) == expected, (*path[:length], last)


def test_a_machine_learnt_from_outside_is_the_one_that_is_drawn() -> None:
    """Nothing is known but the symbols; random walks try what the learner did not think of."""
    aalpy = pytest.importorskip("aalpy", reason="AALpy is in the extra test")

    class System(aalpy.base.SUL):  # type: ignore[misc, name-defined]
        def pre(self) -> None:
            self.asked = Asked()

        def post(self) -> None:
            pass

        def step(self, letter: str) -> str:
            return self.asked.say(letter)

    random.seed(1)  # the walks are the same in every run
    system = System()
    oracle = aalpy.oracles.StatePrefixEqOracle(list(LEARNT), system, walks_per_state=20, walk_len=4)
    learnt = aalpy.run_Lstar(list(LEARNT), system, oracle, automaton_type="mealy", print_level=0)
    # Drawn states that nobody can tell apart from outside are one learnt state.
    pairs = [(learnt.initial_state, "start")]
    for node, state in pairs:
        for symbol in LEARNT:
            expected, after = DRAWN[state][symbol]
            assert node.output_fun[symbol] == expected, (state, symbol)
            if (node.transitions[symbol], after) not in pairs:
                pairs.append((node.transitions[symbol], after))
    assert {state for _, state in pairs} == set(DRAWN)
