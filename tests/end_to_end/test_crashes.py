"""A relay under load that is killed again and again: nobody was told anything that is not true."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from securerelay import failpoints
from tests.end_to_end import history
from tests.end_to_end.load import CHECKPOINT, Load

KILLS = 200
LIFE = 0.25
"""Seconds that a relay serves at most before it is killed."""

SLOW = {"expiry-committed"}
"""Expiry is looked for every ten seconds, too long to wait for here."""

OFTEN = {
    "before-commit",
    "after-commit",
    "after-commit-before-ok",
    "after-delivery-before-ack",
    "stream-opened",
    "tickets-kept",
}
"""Places that are passed many times in a second of load."""


TRIES = 30
"""How often a place is tried that was not reached; guests come and go as chance will have it."""


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    made = Load(tmp_path, seed=int.from_bytes(tmp_path.name.encode()[-4:], "big"))
    try:
        made.settle()
        yield made
    finally:
        made.close()


def judge(load: Load) -> dict[str, int]:
    found = load.finish()
    told = [line for line in load.log.splitlines() if " warn " in line or " error " in line]
    assert not found, "\n".join([history.tell(found), *told[-20:]])
    return history.summary(load.histories)


def test_killed_two_hundred_times_it_loses_doubles_and_swaps_nothing(load: Load) -> None:
    for _ in range(KILLS):
        load.cycle(seconds=load.random.uniform(0, LIFE))
    seen = judge(load)
    assert load.cycles == KILLS
    assert seen["ok"] > 10 * KILLS, "hardly anything was sent"
    assert any(
        event["resumed"]
        for events in load.histories.values()
        for event in events
        if event["e"] == "opened"
    ), "nobody resumed a session"


def test_ended_and_reloaded_under_load_it_loses_doubles_and_swaps_nothing(load: Load) -> None:
    for _ in range(8):
        load.cycle(seconds=load.random.uniform(0.1, LIFE), gently=True, reload=True)
    seen = judge(load)
    assert seen["ok"] > 100, "hardly anything was sent"


def test_killed_at_each_named_place_it_loses_doubles_and_swaps_nothing(load: Load) -> None:
    places = [*sorted(set(failpoints.PLACES) - SLOW), CHECKPOINT]
    died = dict.fromkeys(places, 0)
    for round_ in range(4):
        for place in places:
            count = load.random.randrange(1, 3 + 5 * round_) if place in OFTEN else 1
            setting = place if place == CHECKPOINT else f"{place}:{count}"
            died[place] += load.cycle(setting, seconds=1.5)
    for place in places:  # where chance has not led yet
        for _ in range(TRIES):
            if not died[place]:
                died[place] += load.cycle(place, seconds=1.5)
    judge(load)
    assert all(died.values()), f"some places were never reached: {died}"
