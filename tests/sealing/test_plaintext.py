"""What is inside an envelope is written and read in one way, and its length tells little."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securerelay.crypto import contexts
from securerelay.protocol.items import encode_item, encode_items, u64
from securerelay.sealing import plaintext
from securerelay.sealing.plaintext import Content, Place, padded_size
from securerelay.sealing.verdicts import Rejected, Verdict
from tests.sealing.world import MS, STREAM, alice, bob, message

CONTEXT, BOUND = contexts.E2E_MESSAGE, b"info"
FULL = message(
    skipped=(1, 2),
    heads=((b"o" * 16, 1 << 62), (b"p" * 16, 1)),
    replaces=Place(b"q" * 16, 5, 2),
    log_head=(8, b"r" * 32),
)
FULL_ITEMS = {
    0x10: STREAM,
    0x11: u64(7),
    0x12: b"bob",
    0x13: u64(3),
    0x14: u64(MS),
    0x15: u64(MS),
    0x16: b"text/plain",
    0x17: b"hello",
    0x18: u64(1) + u64(2),
    0x19: b"o" * 16 + u64(1 << 62) + b"p" * 16 + u64(1),
    0x1A: b"q" * 16 + u64(5) + u64(2),
    0x1B: u64(8) + b"r" * 32,
}


def written(content: Content) -> bytes:
    return plaintext.write(content, alice().author, CONTEXT, BOUND)


def read(plain: bytes) -> Content:
    return plaintext.verify(plain, alice().identity, CONTEXT, BOUND)


def pad(items: bytes) -> bytes:
    return items + encode_item(0, bytes(padded_size(len(items) + 5) - len(items) - 5))


def signed(changes: dict[int, bytes | None]) -> bytes:
    """Return a plaintext with other items, which its author signed all the same."""
    values = {**FULL_ITEMS, **changes}
    items = [(kind, value) for kind, value in sorted(values.items()) if value is not None]
    signature = alice().author.sign(CONTEXT, BOUND + encode_items(items))
    return pad(encode_items(sorted([*items, (0x1F, signature)])))


def altered(plain: bytes, why: str) -> None:
    with pytest.raises(Rejected) as caught:
        read(plain)
    assert caught.value.verdict is Verdict.ALTERED
    assert why in caught.value.detail


def test_all_that_was_refused_is_told() -> None:
    said = message(seq=100, index=100, skipped=tuple(range(1, 65)))
    assert read(written(said)) == said


def test_a_plaintext_has_its_items_in_order_then_signature_and_padding() -> None:
    assert written(FULL) == signed({})
    assert read(written(FULL)) == FULL


def test_what_is_left_out_is_empty() -> None:
    assert read(written(message())) == message()
    assert read(signed(dict.fromkeys(range(0x18, 0x1C)))) == message()


def test_a_later_versions_item_is_read_over_if_its_author_signed_it() -> None:
    assert read(signed({0x80: b"new"})) == FULL
    values = [
        *FULL_ITEMS.items(),
        (0x1F, alice().author.sign(CONTEXT, BOUND + encode_items(FULL_ITEMS.items()))),
    ]
    altered(pad(encode_items([*values, (0x80, b"new")])), "signature")


@pytest.mark.parametrize("kind", range(0x10, 0x18))
def test_a_missing_item_is_refused(kind: int) -> None:
    altered(signed({kind: None}), f"item {kind:02x} is missing")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (0x10, b"s" * 15),
        (0x11, b"\7"),
        (0x12, b""),
        (0x16, b""),
        (0x16, b"x" * 128),
        (0x17, bytes(1_000_001)),
        (0x18, b""),
        (0x18, bytes(9)),
        (0x18, b"".join(map(u64, range(1, 66)))),
        (0x19, bytes(23)),
        (0x19, bytes(24 * 9)),
        (0x1A, bytes(31)),
        (0x1B, bytes(41)),
    ],
)
def test_an_item_of_another_length_is_refused(kind: int, value: bytes) -> None:
    altered(signed({kind: value}), f"item {kind:02x} of")


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        (0x12, b"Bob", "no name"),
        (0x12, b"\xff", "no name"),
        (0x12, b"@", "no name"),
        (0x13, u64(8), "index above"),
        (0x16, b"text/\x1b[2J", "content type"),
        (0x16, b" text", "content type"),
        (0x16, b"text\xe9", "content type"),
        (0x18, u64(0) + u64(1), "do not ascend"),
        (0x18, u64(2) + u64(2), "do not ascend"),
        *((kind, u64(1 << 63), "too high") for kind in (0x11, 0x13, 0x14, 0x15, 0x18)),
        (0x19, bytes(16) + u64(1 << 63), "too high"),
        (0x1A, bytes(16) + u64(1 << 63) + u64(1), "too high"),
        (0x1A, bytes(16) + u64(1) + u64(1 << 63), "too high"),
        (0x1B, u64(1 << 63) + bytes(32), "too high"),
    ],
)
def test_a_value_that_means_nothing_is_refused(kind: int, value: bytes, why: str) -> None:
    altered(signed({kind: value}), why)


def test_a_message_signed_by_another_for_another_purpose_or_binding_is_refused() -> None:
    for author, context, bound in (
        (bob().author, CONTEXT, BOUND),
        (alice().author, contexts.E2E_ROOM_MESSAGE, BOUND),
        (alice().author, CONTEXT, b"other"),
    ):
        altered(plaintext.write(FULL, author, context, bound), "signature")


@pytest.mark.parametrize("size", [-1, 1, 16, 4096])
def test_other_padding_is_refused(size: int) -> None:
    values = encode_items({**FULL_ITEMS, 0x17: bytes(100)}.items())
    items = values + encode_item(0x1F, alice().author.sign(CONTEXT, BOUND + values))
    right = padded_size(len(items) + 5) - len(items) - 5
    assert read(items + encode_item(0, bytes(right))) == replace(FULL, body=bytes(100))
    altered(items + encode_item(0, bytes(right + size)), "padded to another length")


@pytest.mark.parametrize(
    "changes",
    [
        {"to": "Bob"},
        {"to": "@"},
        {"content_type": ""},
        {"content_type": "text/\n"},
        {"body": bytes(1_000_001)},
        {"skipped": (2, 1)},
        {"skipped": tuple(range(1, 66))},
        {"index": 8},
        {"index": -1},
        {"heads": ((b"o" * 16, 1),) * 9},
        {"stream": b"short"},
    ],
)
def test_our_own_mistakes_are_not_sealed(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        written(replace(FULL, **changes))


@settings(deadline=None)
@given(st.integers(1, 1_100_000))
def test_padding_follows_padme_and_never_falls_below_256(size: int) -> None:
    padded = padded_size(size)
    assert padded >= max(size, 256)
    if size >= 256:
        exponent = math.floor(math.log2(size))
        zeros = exponent - (math.floor(math.log2(exponent)) + 1)
        assert padded % (1 << zeros) == 0
        assert padded - size < 1 << zeros
        assert padded <= size * 1.12


@pytest.mark.parametrize(
    ("size", "padded"),
    [(1, 256), (256, 256), (257, 272), (272, 272), (1000, 1024), (10_001, 10_240)],
)
def test_padding_of_some_lengths(size: int, padded: int) -> None:
    assert padded_size(size) == padded


@settings(deadline=None)
@given(st.integers(0, 2000))
def test_every_length_is_padded_to_what_its_own_check_allows(size: int) -> None:
    content = message(body=bytes(size))
    assert read(written(content)) == content


def test_the_largest_body_fits_into_a_message() -> None:
    content = message(body=bytes(1_000_000))
    assert len(written(content)) + 21 + 1136 < 1 << 20
    assert read(written(content)) == content
