"""Comparing with other brokers: what is printed of what was measured."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest
from docutils.core import publish_doctree

from benchmarks.compare import __main__ as command
from benchmarks.compare import report
from benchmarks.compare.mosquitto import Mosquitto
from benchmarks.compare.nats import Nats, NatsSynced
from benchmarks.compare.patterns import PATTERNS
from benchmarks.compare.relay import Relay, _complete
from securerelay.protocol import messages

VERSIONS = {"SecureRelay": "1", "Mosquitto": "2", "NATS": "3"}


def row(**figures: list[float]) -> report.Row:
    return report.Row("pair-1", PATTERNS["pair-1"], dict(figures))


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
    told = json.loads(report.as_json(measured(), VERSIONS))
    assert told["patterns"][0]["figures"]["SecureRelay"] == [3.0, 1.0, 2.0]
    assert told["patterns"][0]["ratio"] == {"Mosquitto": 0.5}
    assert told["versions"] == VERSIONS


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


@pytest.mark.parametrize("cut", range(0, 200, 7))
def test_the_load_generator_counts_whole_messages_only(cut: int) -> None:
    body = b"x" * 40
    one = messages.msg_header(1 << 60, b"a", b"b", b"s" * 22, 5, 1700, len(body)) + body
    said = messages.ok(3) + one + messages.ok(4) + one
    end = _complete(bytearray(said[:cut]), len(body))
    starts = [0, 5, 5 + len(one), 10 + len(one), 10 + 2 * len(one)]
    assert end == max(start for start in starts if start <= min(cut, len(said)))
