"""Items are written and read in one way."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securerelay.errors import RemoteError
from securerelay.protocol.items import (
    NUMBERS,
    Field,
    Form,
    encode_item,
    encode_items,
    exactly,
    number,
    u64,
)

FORM = Form({1: exactly(2), 2: Field(0, 9, step=3), 3: exactly(1, optional=True), 9: exactly(4)})
SIGNED = Form({1: exactly(2), 9: exactly(4)}, signature=9)
PADDED = Form({1: exactly(2)}, padded=True)
GOOD = [(1, b"ab"), (2, b"abc"), (9, b"sign")]


def refused(form: Form, *items: tuple[int, bytes], tail: bytes = b"") -> str:
    with pytest.raises(RemoteError) as caught:
        form.read(encode_items(items) + tail)
    assert caught.value.code == "bad-items"
    return caught.value.detail


def test_an_item_is_its_type_its_length_and_its_value() -> None:
    assert encode_item(0x1F, b"abc") == b"\x1f\x00\x00\x00\x03abc"
    assert u64(258) == b"\0\0\0\0\0\0\1\2"


def test_items_are_read_by_type() -> None:
    items = FORM.read(encode_items(GOOD))
    assert items.values == dict(GOOD)
    assert items.number(1) == 0x6162


def test_a_field_of_an_exact_size_takes_no_other_and_may_be_missing_if_it_says_so() -> None:
    form = Form({1: exactly(2), 2: exactly(3, optional=True), 9: exactly(4)}, signature=9)
    whole = [(1, b"ab"), (2, b"abc"), (9, b"sign")]
    for items in (whole, [whole[0], whole[2]]):
        found = form.read(encode_items(items))
        assert (found.values, found.signed) == (dict(items), encode_items(items[:-1]))
    assert "item 01" in refused(form, (1, b"abc"), whole[2])
    assert "item 01" in refused(form, (1, b"a"), whole[2])
    assert refused(form, *whole[1:])
    assert refused(form, tail=b"\1\1\0\0\2ab" + encode_items(whole[1:]))


def test_numbers_are_such_as_a_database_keeps() -> None:
    form = Form({1: number()})
    highest = {1: u64(NUMBERS - 1)}
    assert form.read(form.write(highest)).number(1) == NUMBERS - 1
    assert "too high a number" in refused(form, (1, u64(NUMBERS)))
    assert "item 01" in refused(form, (1, bytes(7)))
    with pytest.raises(ValueError, match="item 01"):
        form.write({1: u64(NUMBERS)})


def test_what_was_written_is_read_again_in_the_order_of_types() -> None:
    written = FORM.write(dict(reversed(GOOD)))
    assert written == encode_items(GOOD)


def test_the_same_type_twice_or_out_of_order_is_refused() -> None:
    assert refused(FORM, GOOD[0], GOOD[0], *GOOD[1:]) == "item 01 after 01"
    assert refused(FORM, GOOD[1], GOOD[0], GOOD[2]) == "item 01 after 02"


def test_type_0_is_refused_where_nothing_is_padded() -> None:
    assert refused(FORM, (0, b""), *GOOD) == "item 00 after 00"
    assert refused(FORM, *GOOD, (0, b"")) == "item 00 after 09"


@pytest.mark.parametrize("kind", [4, 0x7F])
def test_unknown_types_below_80_are_refused(kind: int) -> None:
    items = sorted([*GOOD, (kind, b"")])
    assert refused(FORM, *items) == f"unknown item {kind:02x}"


@pytest.mark.parametrize("kind", [0x80, 0xFF])
def test_unknown_types_from_80_on_are_skipped(kind: int) -> None:
    assert FORM.read(encode_items([*GOOD, (kind, b"new")])).values == dict(GOOD)


@pytest.mark.parametrize("value", [b"a", b"abc", b""])
def test_other_lengths_are_refused(value: bytes) -> None:
    assert refused(FORM, (1, value), *GOOD[1:]).startswith("item 01 of")


@pytest.mark.parametrize("value", [b"a", b"abcd", b"a" * 12])
def test_lengths_that_are_no_multiple_or_too_many_are_refused(value: bytes) -> None:
    assert refused(FORM, GOOD[0], (2, value), GOOD[2]).startswith("item 02 of")


def test_a_missing_item_is_refused_unless_it_is_optional() -> None:
    assert refused(FORM, *GOOD[:2]) == "item 09 is missing"
    assert FORM.read(encode_items([*GOOD[:2], (3, b"x"), GOOD[2]])).values[3] == b"x"


@pytest.mark.parametrize("cut", range(1, len(encode_items(GOOD))))
def test_every_cut_is_refused(cut: int) -> None:
    with pytest.raises(RemoteError):
        FORM.read(encode_items(GOOD)[:cut])


def test_everything_but_the_signature_is_signed_what_is_skipped_too() -> None:
    items = SIGNED.read(encode_items([(1, b"ab"), (9, b"sign"), (0x80, b"new")]))
    assert items.signed == encode_items([(1, b"ab"), (0x80, b"new")])
    plain = SIGNED.read(encode_items([(1, b"ab"), (9, b"sign")]))
    assert plain.signed == encode_item(1, b"ab")


def test_padding_is_an_item_of_zeros_that_ends_it() -> None:
    items = PADDED.read(encode_items([(1, b"ab"), (0x80, b""), (0, bytes(7))]))
    assert items.signed == encode_items([(1, b"ab"), (0x80, b"")])
    assert items.size == len(items.signed)
    assert PADDED.read(encode_items([(1, b"ab"), (0, bytes(7))])).values == {1: b"ab"}


@pytest.mark.parametrize(
    "tail",
    [
        *(b"", b"\0", bytes(4), encode_item(0, b"\0\1"), encode_item(0, b"") + b"\0"),
        *(b"\0\0\0\0\2\0", b"\0\1\0\0\0"),
    ],
)
def test_padding_that_is_missing_not_zeros_or_of_another_length_is_refused(tail: bytes) -> None:
    assert refused(PADDED, (1, b"ab"), tail=tail).startswith("padding")


def test_our_own_mistakes_are_not_written() -> None:
    for values in ({1: b"ab"}, {1: b"a", 2: b"", 9: b"sign"}, {**dict(GOOD), 4: b""}):
        with pytest.raises(ValueError, match="item"):
            FORM.write(values)
    assert SIGNED.write({1: b"ab"}) == encode_item(1, b"ab")


@settings(deadline=None)
@given(st.binary(max_size=64))
def test_what_is_read_is_written_the_same_way(data: bytes) -> None:
    for form in (FORM, SIGNED):
        try:
            items = form.read(data)
        except RemoteError:
            continue
        known = form.write(items.values)
        assert data.startswith(known)
        assert all(byte >= 0x80 for byte in data[len(known) : len(known) + 1])
