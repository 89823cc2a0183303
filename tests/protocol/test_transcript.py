"""The transcript is one hash over typed items, and nothing can be moved between them."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from securerelay.protocol.transcript import Item, Transcript, encode_item

ITEMS = st.lists(st.tuples(st.sampled_from(Item), st.binary(max_size=20)), max_size=4)


def digest(items: list[tuple[Item, bytes]]) -> bytes:
    transcript = Transcript()
    for kind, value in items:
        transcript.add(kind, value)
    return transcript.digest()


def test_the_hash_is_over_the_prefix_and_every_item() -> None:
    expected = hashlib.sha384(
        b"securerelay/1 transcript\0" + b"\x01\0\0\0\x02C1" + b"\x22\0\0\0\x00"
    )
    assert digest([(Item.C1, b"C1"), (Item.REKEY_RELAY, b"")]) == expected.digest()


def test_the_numbers_of_items_are_those_of_the_protocol() -> None:
    assert [item.value for item in Item] == [
        *range(0x01, 0x0E),
        *range(0x10, 0x13),
        *range(0x20, 0x23),
    ]


def test_an_item_has_its_type_and_its_length() -> None:
    assert encode_item(Item.EE, b"x" * 300) == b"\x03\x00\x00\x01\x2c" + b"x" * 300


@given(ITEMS, ITEMS)
def test_different_items_have_different_hashes(
    one: list[tuple[Item, bytes]], other: list[tuple[Item, bytes]]
) -> None:
    assert (digest(one) == digest(other)) == (one == other)


def test_adding_tells_the_hash_so_far_and_a_copy_goes_its_own_way() -> None:
    transcript = Transcript()
    first = transcript.add(Item.C1, b"a")
    assert first == transcript.digest() == digest([(Item.C1, b"a")])
    copy = transcript.copy()
    second = copy.add(Item.S1, b"b")
    assert transcript.digest() == first
    assert second == digest([(Item.C1, b"a"), (Item.S1, b"b")])
