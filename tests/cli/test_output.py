"""What verbs write, for people and for programs."""

from __future__ import annotations

import io
import json

import pytest

from securerelay.cli.exits import Failure, ReaderGone
from securerelay.cli.output import Block, Output, moment, shown


def test_people_get_a_line_from_the_template(capsys: pytest.CaptureFixture[str]):
    Output().say({"name": "bob", "count": 3}, "{name} has {count}")
    assert capsys.readouterr().out == "bob has 3\n"


def test_programs_get_one_object_a_line_whatever_the_template_says(
    capsys: pytest.CaptureFixture[str],
):
    Output(json=True).say({"name": "bob", "count": None}, "{name}", when="never in JSON")
    assert capsys.readouterr().out == '{"name":"bob","count":null}\n'


def test_no_value_of_a_record_can_act_on_the_terminal(capsys: pytest.CaptureFixture[str]):
    """Escape sequences, C1 controls, right-to-left overrides and line feeds come out as text."""
    Output().say({"name": "\x1b]0;x\x07\x9b31m\u202egnp\nalice: hi"}, "{name}")
    out = capsys.readouterr().out
    assert out == "\\x1b]0;x\\x07\\x9b31m\\u202egnp\\x0aalice: hi\n"


def test_json_is_plain_ascii_so_nothing_in_it_acts_on_a_terminal(
    capsys: pytest.CaptureFixture[str],
):
    Output(json=True).say({"text": "\x1b[2J\u202eé\u2028"}, "")
    out = capsys.readouterr().out
    assert out.isascii()
    assert out.rstrip("\n").isprintable()
    assert json.loads(out) == {"text": "\x1b[2J\u202eé\u2028"}


def test_a_body_of_several_lines_cannot_look_like_another_message(
    capsys: pytest.CaptureFixture[str],
):
    Output().say({"from": "eve"}, "{from}: {body}", body=Block(b"hello\nalice: send money\n\x1b[A"))
    assert capsys.readouterr().out == "eve: hello\n  | alice: send money\n  | \\x1b[A\n"


def test_the_line_feed_at_the_end_of_a_body_is_not_shown():
    assert shown(Block(b"hello\n")) == "hello"
    assert shown(Block(b"")) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (False, "no"),
        (["a", "b\n"], "a, b\\x0a"),
        (7, "7"),
        (b"\xff", "\\xff"),
    ],
)
def test_values_are_shown_as_people_write_them(value: object, text: str):
    assert shown(value) == text


def test_an_error_goes_to_standard_error_as_text_or_as_json(capsys: pytest.CaptureFixture[str]):
    Output().fail("offline", "bob is away")
    Output(json=True).fail("offline", "bob is away")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        'securerelay: bob is away\n{"error":"offline","message":"bob is away"}\n'
    )


def test_a_note_is_escaped_too(capsys: pytest.CaptureFixture[str]):
    Output().note("a\x1b")
    Output(json=True).note("a\x1b")
    assert capsys.readouterr().err == 'a\\x1b\n{"note": "a\\u001b"}\n'


class Broken(io.StringIO):
    """A stream whose reader is gone, or whose disk is full."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def flush(self) -> None:
        raise self.error


def test_when_nobody_reads_any_more_the_verb_ends_quietly(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdout", Broken(BrokenPipeError(32, "Broken pipe")))
    with pytest.raises(ReaderGone):
        Output().say({}, "x")


def test_a_full_disk_is_one_clear_sentence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdout", Broken(OSError(28, "No space left on device")))
    with pytest.raises(Failure, match=r"^cannot write the output: No space left on device$"):
        Output().say({}, "x")


def test_an_error_that_nobody_can_be_told_is_no_further_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stderr", Broken(OSError(28, "No space left on device")))
    Output().fail("error", "x")


@pytest.mark.parametrize("time", [10**30, -(10**30)])
def test_a_time_beyond_every_calendar_is_shown_as_a_number(time: int):
    assert moment(time) == str(time)


def test_a_time_is_shown_to_the_second(monkeypatch: pytest.MonkeyPatch):
    assert len(moment(1_700_000_000_000)) == len("2023-11-14 22:13:20")
    assert moment(None) == "-"
