"""Comparing with other brokers: what is printed of what was measured."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from docutils.core import publish_doctree

from benchmarks.compare import __main__ as command
from benchmarks.compare import report
from benchmarks.compare.broker import Broker, Unsupported
from benchmarks.compare.mosquitto import Mosquitto
from benchmarks.compare.nats import Nats, NatsSynced
from benchmarks.compare.patterns import PATTERNS, Pattern, Result
from benchmarks.compare.relay import Relay, _complete
from securerelay.protocol import messages

VERSIONS = {"SecureRelay": "1", "Mosquitto": "2", "NATS": "3"}


def row(**figures: list[float]) -> report.Row:
    results = {
        title: [Result(value, 0.5, 0.25) for value in some] for title, some in figures.items()
    }
    return report.Row("pair-1", PATTERNS["pair-1"], results)


def measured() -> list[report.Row]:
    return [row(SecureRelay=[3.0, 1.0, 2.0], Mosquitto=[4.0, 5.0, 4.0]), row(SecureRelay=[1.0])]


def test_medians_count_and_ours_is_held_against_each_other() -> None:
    first, alone = measured()
    assert first.median("SecureRelay") == 2.0
    assert first.ratio("Mosquitto") == 0.5
    assert first.ratio("NATS") is None
    assert alone.ratio("Mosquitto") is None


def test_the_table_says_what_took_no_part() -> None:
    lines = report.as_text(measured(), VERSIONS).splitlines()
    assert lines[0] == "SecureRelay 1, Mosquitto 2, NATS 3"
    assert lines[-2].split()[-4:] == ["2.00", "4.00", "(0.50)", "-"]
    assert lines[-1].split()[-3:] == ["1.00", "-", "-"]


def test_the_documentation_can_take_the_table_as_it_is() -> None:
    tree = publish_doctree(
        report.as_rst(measured(), VERSIONS), settings_overrides={"report_level": 2}
    )
    assert len(list(tree.findall(lambda node: node.tagname == "row"))) == 3
    assert not list(tree.findall(lambda node: node.tagname == "system_message"))


def test_json_has_every_single_figure() -> None:
    line = report.as_json(measured()[0])
    assert "\n" not in line
    told = json.loads(line)
    assert told["figures"]["SecureRelay"] == [3.0, 1.0, 2.0]
    assert told["ratio"] == {"Mosquitto": 0.5}
    assert told["busy"]["Mosquitto"] == [0.5] * 3
    assert told["load"]["Mosquitto"] == [0.25] * 3
    assert json.loads(report.head_as_json(VERSIONS))["versions"] == VERSIONS


def test_the_drawing_is_well_formed_and_bars_are_to_scale() -> None:
    drawn = ElementTree.fromstring(report.as_svg(measured(), VERSIONS))
    bars = [float(bar.get("width", 0)) for bar in drawn if bar.tag.endswith("rect")]
    ours, mosquitto, alone = bars[3:]
    assert ours * 2 == mosquitto == alone


def test_a_broker_that_is_not_installed_is_left_out_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in (Relay, Mosquitto, Nats, NatsSynced):
        monkeypatch.setattr(kind, "found", classmethod(lambda cls: None))
    command.main(["kept"])
    said = capsys.readouterr().err.splitlines()
    assert said[1:] == [
        "Mosquitto is left out: mosquitto is not installed",
        "NATS is left out: nats-server is not installed",
        "NATS, sync always is left out: nats-server 2.10 is not installed",
    ]


def test_what_others_need_is_held_against_nothing_where_ours_failed() -> None:
    alone = row(Mosquitto=[4.0])
    alone.failed["SecureRelay"] = "took longer than 5 s"
    lines = report.as_text([alone], VERSIONS).splitlines()
    assert alone.ratio("Mosquitto") is None
    assert lines[-3].split()[-3:] == ["-", "4.00", "-"]
    assert lines[-1] == "one pair, 1 a write, SecureRelay: took longer than 5 s"
    ElementTree.fromstring(report.as_svg([alone], VERSIONS))


class Stub(Relay):
    """A broker that does nothing, and of which it is known how many run."""

    running = 0

    def __init__(self) -> None:
        """Make no keys."""

    def start(self) -> None:
        Stub.running += 1

    def stop(self) -> None:
        Stub.running -= 1


class Broken(Stub):
    title = "Broken"

    def start(self) -> None:
        super().start()
        raise SystemExit("Broken did not start:\n no disk")


def _refuse(broker: Broker, part: float) -> Result:
    if broker.title == "Broken":
        raise AssertionError("never started")
    raise Unsupported("issues no tickets")


def _raise(broker: Broker, part: float) -> Result:
    raise ZeroDivisionError("ours")


def _hang(broker: Broker, part: float) -> Result:
    time.sleep(60)
    return Result(1.0)


@pytest.fixture
def patterns(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Pattern]]:
    known = {
        "refuse": Pattern("refused", "us", _refuse, (Stub, Broken)),
        "raise": Pattern("raises", "us", _raise, (Stub,)),
        "hang": Pattern("hangs", "us", _hang, (Stub,), rare=True),
        "good": Pattern("works", "us", lambda broker, part: Result(part, 0.5, 0.125), (Stub,)),
    }
    monkeypatch.setattr(command, "PATTERNS", known)
    before = signal.getsignal(signal.SIGTERM)
    yield known
    signal.signal(signal.SIGTERM, before)


def test_what_fails_says_so_in_a_line_and_the_others_go_on(
    patterns: dict[str, Pattern], capsys: pytest.CaptureFixture[str]
) -> None:
    command.main(["--runs", "1"])
    said = capsys.readouterr()
    assert said.err.splitlines() == [
        "refuse 1: SecureRelay issues no tickets",
        "refuse 1: Broken Broken did not start: no disk",
        "raise 1: SecureRelay failed: ours",
        "good 1: SecureRelay 1.00 us (a core: server 50%, load generator 12%)",
    ]
    assert [" ".join(line.split()) for line in said.out.splitlines()[-5:]] == [
        "works (us) 1.00 -",
        "",
        "refused, SecureRelay: issues no tickets",
        "refused, Broken: Broken did not start: no disk",
        "raises, SecureRelay: failed: ours",
    ]
    assert Stub.running == 0


def test_what_takes_too_long_is_given_up_and_can_be_asked_for_by_name(
    patterns: dict[str, Pattern], capsys: pytest.CaptureFixture[str]
) -> None:
    command.main(["hang", "--quick", "--json", "--limit", "1"])
    _, hung = map(json.loads, capsys.readouterr().out.splitlines())
    assert hung["failed"] == {"SecureRelay": "failed: took longer than 1 s"}


def test_what_was_measured_is_printed_and_drawn_also_when_it_is_interrupted(
    patterns: dict[str, Pattern], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def interrupt(broker: Broker, part: float) -> Result:
        os.kill(os.getpid(), signal.SIGTERM)
        return Result(1.0)

    patterns["last"] = Pattern("last", "us", interrupt, (Stub,))
    with pytest.raises(KeyboardInterrupt):
        command.main(["good", "last", "--plot", str(tmp_path / "bars.svg")])
    assert "works (us)         1.00" in capsys.readouterr().out
    assert "1.00" in (tmp_path / "bars.svg").read_text()
    assert Stub.running == 0


def test_a_pattern_that_is_not_known_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["pair-7"])
    assert "no such pattern: pair-7" in capsys.readouterr().err


@pytest.mark.parametrize("cut", range(0, 200, 7))
def test_the_load_generator_counts_whole_messages_only(cut: int) -> None:
    body = b"x" * 40
    one = messages.msg_header(1 << 60, b"a", b"b", b"s" * 22, 5, 1700, len(body)) + body
    said = messages.ok(3) + one + messages.ok(4) + one
    end = _complete(bytearray(said[:cut]), len(body))
    starts = [0, 5, 5 + len(one), 10 + len(one), 10 + 2 * len(one)]
    assert end == max(start for start in starts if start <= min(cut, len(said)))
