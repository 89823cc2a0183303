"""Lines: bounded, strict, and the same whatever the segments."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securerelay.errors import RemoteError
from securerelay.protocol import lines
from securerelay.protocol.lines import MAX_LINE, LineSplitter


def split(*segments: bytes) -> list[bytes | str]:
    """Feed segments; return the lines, and last the code of the error if there was one."""
    splitter = LineSplitter()
    found: list[bytes | str] = []
    try:
        for segment in segments:
            splitter.feed(segment)
            while (line := splitter.next()) is not None:
                found.append(line)
    except RemoteError as error:
        found.append(error.code)
    return found


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8))
def test_segments_make_no_difference(data: bytes, cuts: list[int]) -> None:
    points = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    segments = [data[a:b] for a, b in pairwise(points)]
    assert split(*segments) == split(data)


def test_a_line_of_the_limit_passes_and_one_byte_more_does_not_at_every_split() -> None:
    longest = b"a" * (MAX_LINE - 1) + b"\n"
    for cut in range(0, MAX_LINE, 97):
        assert split(longest[:cut], longest[cut:]) == [longest[:-1]]
        assert split(b"a" + longest[:cut], longest[cut:]) == ["too-long"]


def test_megabytes_without_an_end_are_cut_off_at_the_first_byte_too_many() -> None:
    assert split(b"a" * (MAX_LINE - 1)) == []
    assert split(b"a" * MAX_LINE) == ["too-long"]
    assert split(b"a" * 1_000_000) == ["too-long"]


def test_lines_that_add_up_to_more_than_a_handshake_are_refused() -> None:
    longest = b"a" * (MAX_LINE - 1) + b"\n"
    assert split(longest * 3) == [longest[:-1]] * 3
    assert split(longest * 3 + b"\n") == [longest[:-1]] * 3 + ["too-long"]


@pytest.mark.parametrize("byte", [0x00, 0x09, 0x0D, 0x1B, 0x7F, 0x80, 0xC3, 0xFF])
def test_a_byte_that_no_line_has_is_refused_at_once(byte: int) -> None:
    assert split(b"SR1 HELLO" + bytes((byte,))) == ["bad-line"]
    assert split(b"SR1 HELLO" + bytes((byte,)) + b"\n") == ["bad-line"]


def test_what_follows_the_last_line_is_handed_over() -> None:
    splitter = LineSplitter()
    splitter.feed(b"one\n\x00\x01")
    assert splitter.next() == b"one"
    assert len(splitter) == 2
    assert splitter.rest() == b"\x00\x01"
    assert len(splitter) == 0


def test_a_whole_line_has_one_end_and_nothing_but_what_lines_have() -> None:
    assert lines.is_whole(b"SR1 HELLO ~\n")
    assert lines.is_whole(b"\n")
    for data in (b"", b"SR1 HELLO", b"a\nb", b"a\n\n", b"a\nb\n", b"\x00a\n", b"a\x7f\n", b"a\r\n"):
        assert not lines.is_whole(data)


@pytest.mark.parametrize(
    "line",
    [b"", b"SR1", b"SR2 HELLO", b"SR1  HELLO", b"SR1 hello", b" SR1 HELLO", b"GET / HTTP/1.1"],
)
def test_what_is_no_sr1_line_is_bad(line: bytes) -> None:
    with pytest.raises(RemoteError, match=r"^bad-line"):
        lines.verb_of(line)


def test_a_verb_is_read_with_and_without_fields() -> None:
    assert lines.verb_of(b"SR1 HELLO a=b") == b"HELLO"
    assert lines.verb_of(b"SR1 HELLO") == b"HELLO"


def test_fields_come_in_their_order() -> None:
    assert lines.fields(b"SR1 X a=1 b=2", "a", "b") == {"a": "1", "b": "2"}
    assert lines.fields(b"SR1 X a=1 c=x=y", "a", "b?", "c") == {"a": "1", "c": "x=y"}


@pytest.mark.parametrize(
    "line",
    [
        b"SR1 X b=2 a=1",
        b"SR1 X a=1",
        b"SR1 X a=1 b=2 c=3",
        b"SR1 X a=1  b=2",
        b"SR1 X a=1 b=2 ",
        b"SR1 X a= b=2",
        b"SR1 X a=1 a=1 b=2",
        b"SR1 X",
    ],
)
def test_fields_missing_extra_or_out_of_order_are_bad(line: bytes) -> None:
    with pytest.raises(RemoteError, match=r"^bad-line"):
        lines.fields(line, "a", "b")


@given(st.binary(min_size=1, max_size=70))
def test_base64url_has_one_form(data: bytes) -> None:
    text = lines.encode(data)
    assert lines.decode(text) == data
    assert lines.decode(text, len(data)) == data
    with pytest.raises(RemoteError):
        lines.decode(text, len(data) + 1)
    for other in (text + "=", text + "A" * 4 + "=", " " + text, text[:1] + "\n" + text[1:]):
        with pytest.raises(RemoteError):
            lines.decode(other, len(data))


@pytest.mark.parametrize("text", ["", "A", "AB", "AAB", "+/+/", "AA==", "AA=A", "A*AA", "AAAé"])
def test_base64url_that_is_not_canonical_is_bad(text: str) -> None:
    with pytest.raises(RemoteError, match=r"^bad-line"):
        lines.decode(text)


def test_base64url_uses_the_url_alphabet() -> None:
    assert lines.encode(b"\xfb\xff\xfe") == "-__-"
    assert lines.encode(b"\0\0\x17") == "AAAX"


@pytest.mark.parametrize("text", ["0", "1", "10", "9" * 19])
def test_numbers_are_read(text: str) -> None:
    assert lines.decode_number(text) == int(text)


@pytest.mark.parametrize(
    "text", ["", "00", "01", "+1", "-1", "1_0", " 1", "1 ", "٣", "1" * 20, "0x1"]
)
def test_numbers_have_one_form(text: str) -> None:
    with pytest.raises(RemoteError, match=r"^bad-line"):
        lines.decode_number(text)


def test_a_list_has_one_to_eight_distinct_names() -> None:
    assert lines.decode_list("a,b-c,0") == ("a", "b-c", "0")
    for text in ("", "a,", ",a", "a,a", "A", "a,b,c,d,e,f,g,h,i", "x" * 33, "a b"):
        with pytest.raises(RemoteError, match=r"^bad-line"):
            lines.decode_list(text)


def test_a_share_names_its_group() -> None:
    assert lines.decode_share("x25519:AQ") == ("x25519", b"\x01")
    for text in ("x25519", ":AQ", "x25519:", "X:AQ", "a:b:AQ"):
        with pytest.raises(RemoteError, match=r"^bad-line"):
            lines.decode_share(text)
