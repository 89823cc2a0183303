"""Times on the command line."""

from __future__ import annotations

import click
import pytest

from securerelay.cli.durations import Duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("90", 90),
        ("90s", 90),
        ("15m", 900),
        ("1h", 3600),
        ("30d", 2_592_000),
        ("0.5h", 1800),
    ],
)
def test_times_are_written_with_their_unit(text: str, seconds: float):
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "x", "-1", "1 h", "1y", "1e9", "१", "1h\n", "9" * 10])
def test_what_is_no_time_is_refused_with_an_example(text: str):
    with pytest.raises(click.BadParameter, match="write 90, 90s, 15m, 1h or 30d"):
        Duration().convert(text, None, None)


def test_what_goes_over_the_wire_in_seconds_must_be_whole_seconds():
    assert Duration(whole=True).convert("1.5m", None, None) == 90
    with pytest.raises(click.BadParameter, match="whole number"):
        Duration(whole=True).convert("0.5", None, None)
