"""The log: stable names, one line an event, nothing that acts on a terminal, and bounds."""

from __future__ import annotations

import json
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from securerelay.relay.logging import as_json, as_text
from tests.relay.in_memory import Recorded


def test_an_event_is_one_line_of_its_name_and_fields() -> None:
    recorded = Recorded()
    recorded.log.info(
        "session.opened", source="192.0.2.1", peer="alice", resumed=True, nothing=None
    )
    recorded.log.warn("folder.full", free=3)
    assert recorded.lines == [
        "info session.opened source=192.0.2.1 peer=alice resumed=True",
        "warn folder.full free=3",
    ]
    assert recorded.stream.getvalue().startswith("20")
    assert recorded.stream.getvalue()[23] == "Z"


def test_nothing_from_strangers_acts_on_a_terminal_or_begins_a_line() -> None:
    recorded = Recorded()
    recorded.log.info(
        "x", line=b"\x1b[2J\n" + b"A" * 100, text='a\r\nb \u202e{line} "q" a=b', empty=""
    )
    (line,) = recorded.lines
    assert line == (
        r"info x line=\x1b[2J\x0a" + "A" * 59 + "…"
        r' text="a\x0d\x0ab \u202e{line} \x22q\x22 a=b" empty=""'
    )


def test_json_lines_hold_the_same_and_keep_numbers() -> None:
    recorded = Recorded("json")
    recorded.log.info("x", line=b"\x1b\xff", n=3, text="é\u202e")
    whole = json.loads(recorded.stream.getvalue())
    assert whole.pop("time").endswith("Z")
    assert whole == {"level": "info", "event": "x", "line": r"\x1b\xff", "n": 3, "text": "é\\u202e"}
    assert recorded.stream.getvalue().isascii()


def test_a_source_gets_so_many_lines_a_second_and_a_summary() -> None:
    recorded = Recorded(lines_per_second=2)
    for _ in range(5):
        recorded.log.info("x", source="192.0.2.1")
    recorded.log.info("x", source="192.0.2.2")
    recorded.log.info("x")
    assert len(recorded.lines) == 4
    recorded.log.summarise()
    assert recorded.lines[4:] == ["warn log.suppressed of=192.0.2.1 lines=3"]
    recorded.log.summarise()
    assert len(recorded.lines) == 5, "and not told twice"
    recorded.clock.advance(1)
    recorded.log.info("x", source="192.0.2.1")
    assert len(recorded.lines) == 6


def test_strangers_with_many_addresses_share_a_rate() -> None:
    recorded = Recorded(lines_per_second=2)
    for n in range(50):
        recorded.log.stranger("x", source=f"192.0.2.{n}")
    recorded.log.info("y", source="192.0.2.99")
    assert len(recorded.lines) == 21
    recorded.log.summarise()
    assert recorded.lines[21:] == ["warn log.suppressed lines=30"]


def test_a_summary_of_many_sources_is_short() -> None:
    recorded = Recorded(lines_per_second=1)
    for n in range(100):
        for _ in range(n + 2):
            recorded.log.info("x", source=f"192.0.2.{n}")
    before = len(recorded.lines)
    recorded.log.summarise()
    summary = recorded.lines[before:]
    assert len(summary) == 21
    assert summary[0] == "warn log.suppressed of=192.0.2.99 lines=100"
    assert summary[-1] == f"warn log.suppressed sources=80 lines={sum(range(1, 81))}"


def test_too_many_sources_are_counted_and_not_kept(monkeypatch: Any) -> None:
    monkeypatch.setattr("securerelay.relay.logging.MAX_SOURCES", 2)
    recorded = Recorded()
    for n in range(5):
        recorded.log.info("x", source=f"192.0.2.{n}")
    assert len(recorded.lines) == 2
    recorded.log.summarise()
    assert recorded.lines[2:] == ["warn log.suppressed lines=3"]


def failure() -> Failure:
    try:
        raise ValueError("bad\nthing")
    except ValueError:
        return Failure()


def test_a_fault_of_ours_is_one_line_with_the_way_it_came() -> None:
    recorded = Recorded()
    recorded.log.failure("session.broken", failure(), peer="alice")
    (line,) = recorded.lines
    assert line.startswith(r'error session.broken peer=alice error="ValueError: bad\x0athing" at=')
    assert "test_logging.py:" in line


def test_what_is_not_ours_is_one_line_too_and_bounded() -> None:
    recorded = Recorded()
    other = Logger("twisted.thing", observer=recorded.publisher)
    other.warn("Starting {what}", what="a\nfactory")
    other.failure("oh", failure())
    assert recorded.lines[0] == r'warn twisted from=twisted.thing text="Starting a\x0afactory"'
    assert recorded.lines[1].startswith("critical internal.error from=twisted.thing error=")
    for _ in range(1000):
        other.warn("again")
    assert len(recorded.lines) == 200
    recorded.log.info("ours")
    assert len(recorded.lines) == 201


def test_that_all_is_well_with_twisted_is_not_told() -> None:
    recorded = Recorded()
    Logger("twisted.thing", observer=recorded.publisher).info("starting on {port}", port=3000)
    assert recorded.lines == []
    Logger("stdout", observer=recorded.publisher).info("printed")
    assert recorded.lines == ["info twisted from=stdout text=printed"]


def test_an_event_without_a_level_or_text_is_shown_all_the_same() -> None:
    assert as_text({"log_time": 0.0}) == '1970-01-01T00:00:00.000Z info twisted from=- text=""'
    assert json.loads(as_json({}))["event"] == "twisted"


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    recorded = Recorded()
    recorded.stream.close()
    recorded.log.info("x")
