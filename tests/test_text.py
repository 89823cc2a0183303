"""Text of other people is shown so that it cannot act."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securerelay.text import printable


def test_ordinary_text_stays_as_it_is() -> None:
    assert printable("Hello, Zoë! 你好 ✓ 🙂") == "Hello, Zoë! 你好 ✓ 🙂"
    assert printable("Zoë".encode()) == "Zoë"
    assert printable("") == printable(b"") == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("\x9b2J", r"\x9b2J"),
        ("a\nb\r\0", r"a\x0ab\x0d\x00"),
        ("\x7f", r"\x7f"),
        ("a\u202eb", r"a\u202eb"),
        ("\u2066\u200b\ufeff", r"\u2066\u200b\ufeff"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\ud800", r"\ud800"),
        ("\ue000", r"\ue000"),
        ("\U000e0041", r"\U000e0041"),
        ("C:\\x1b", r"C:\\x1b"),
    ],
)
def test_what_acts_or_hides_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("data", "shown"),
    [(b"\xff\x00", r"\xff\x00"), (b"a\xc3", r"a\xc3"), (b"\xc2\x9b", r"\x9b"), (b"\\", r"\\")],
)
def test_bytes_that_are_no_utf_8_are_shown_as_bytes(data: bytes, shown: str) -> None:
    assert printable(data) == shown


@given(st.one_of(st.text(), st.binary()), st.one_of(st.none(), st.integers(0, 20)))
def test_nothing_that_comes_out_can_act(text: str | bytes, limit: int | None) -> None:
    shown = printable(text, limit)
    hidden = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert not any(unicodedata.category(character) in hidden for character in shown)
    shown.encode()
    if limit is not None:
        assert len(shown) <= 10 * limit + 1


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cn", "Co")), max_size=30))
def test_bytes_and_text_look_the_same(text: str) -> None:
    assert printable(text) == printable(text.encode())
    assert printable(text, 5) == printable(text.encode(), 5)


def test_what_is_cut_is_marked() -> None:
    assert printable("abcdef", 5) == "abcde…"
    assert printable("abcde", 5) == "abcde"
    assert printable(b"abcdef", 5) == "abcde…"
    assert printable("🙂" * 6, 5) == printable(("🙂" * 6).encode(), 5) == "🙂" * 5 + "…"
    assert printable(b"x" * 1_000_000, 64) == "x" * 64 + "…"
