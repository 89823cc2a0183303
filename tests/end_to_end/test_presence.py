"""Who watches sees nobody who is gone, however he and the relay went."""

from __future__ import annotations

from pathlib import Path

from tests.end_to_end.daemon import wait_until
from tests.end_to_end.people import Running
from tests.end_to_end.test_outbox import Place


def last_of(watching: Running, name: str) -> str:
    """What was told of somebody last."""
    told = [line.split() for line in list(watching.lines)]
    return [words[1] for words in told if len(words) == 2 and words[0] == name][-1]


def test_who_was_killed_is_away_also_if_the_relay_was_killed_with_him(tmp_path: Path):
    place = Place(tmp_path)
    try:
        with place.alice.running("who", "--watch") as watching:
            watching.wait_for("bob  ")
            for relay_too in (False, True):
                with place.bob.running("listen") as bob:
                    wait_until(lambda: last_of(watching, "bob") == "listening", "bob is here")
                    if relay_too:
                        place.kill()
                        watching.wait_for("the connection is lost")
                    bob.process.kill()
                    bob.wait()
                if relay_too:
                    place.start()
                wait_until(lambda: last_of(watching, "bob") == "away", "bob is away")
                assert last_of(watching, "alice") == "connected"
    finally:
        place.relay.stop()
