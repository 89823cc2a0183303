"""Clients ask each other for what did not open, within bounds."""

from __future__ import annotations

import pytest

from securerelay.protocol.items import encode_items, u64
from securerelay.sealing.resend import (
    KeyRequest,
    Read,
    Resend,
    may_answer_key,
    may_ask_for_key,
    may_resend,
)
from securerelay.sealing.verdicts import Verdict
from tests.sealing.world import DAY, MS, ROOM_ID, STREAM, alice, bob, carol, refused, room


def test_bodies_have_their_items_in_order() -> None:
    assert Resend(STREAM, 7, MS).body() == encode_items([(1, STREAM), (2, u64(7)), (3, u64(MS))])
    assert KeyRequest(ROOM_ID, b"k" * 16).body() == encode_items([(1, ROOM_ID), (2, b"k" * 16)])
    assert Read(STREAM, 3).body() == encode_items([(1, STREAM), (2, u64(3))])
    assert Read(STREAM, 3, 1).body() == encode_items([(1, STREAM), (2, u64(3)), (3, u64(1))])


@pytest.mark.parametrize(
    "one",
    [
        Resend(STREAM, 7, MS),
        KeyRequest(ROOM_ID, b"k" * 16),
        Read(STREAM, 3),
        Read(STREAM, 3, 2),
    ],
)
def test_bodies_are_read_again_and_nothing_else_is(one: Resend | KeyRequest | Read) -> None:
    assert type(one).read(one.body()) == one
    for body in (b"", one.body()[:-1], one.body() + b"\0", b"hello"):
        with refused(Verdict.ALTERED):
            type(one).read(body)


@pytest.mark.parametrize("numbers", [(0,), (1 << 63,), (3, 0), (3, 3), (3, 4), (3, 1 << 63)])
def test_what_was_read_has_indices_that_can_be(numbers: tuple[int, ...]) -> None:
    items = [(1, STREAM), *((kind, u64(one)) for kind, one in enumerate(numbers, 2))]
    with refused(Verdict.ALTERED):
        Read.read(encode_items(items))


def test_each_has_its_own_content_type() -> None:
    assert {one.CONTENT_TYPE for one in (Resend, KeyRequest, Read)} == {
        "application/vnd.securerelay.resend",
        "application/vnd.securerelay.key-request",
        "application/vnd.securerelay.read",
    }


def test_a_message_is_sent_again_to_whom_it_was_sealed_for() -> None:
    assert may_resend(bob().fp, bob().fp, MS, MS + 16 * DAY - 1) is True
    assert may_resend(bob().fp, bob().fp, MS, MS + 16 * DAY) is False


def test_for_another_key_the_user_is_asked() -> None:
    assert may_resend(bob().fp, carol().fp, MS, MS) is None


def test_a_key_is_asked_for_after_ten_seconds_three_times_a_day_for_sixteen_days() -> None:
    assert not may_ask_for_key(MS, (), MS + 9_999)
    assert may_ask_for_key(MS, (), MS + 10_000)
    asked = (MS + 1, MS + 2, MS + 3)
    assert may_ask_for_key(MS, asked[:2], MS + 20_000)
    assert not may_ask_for_key(MS, asked, MS + 20_000)
    assert may_ask_for_key(MS, asked, MS + 1 + DAY)
    assert may_ask_for_key(MS, (), MS + 16 * DAY - 1)
    assert not may_ask_for_key(MS, (), MS + 16 * DAY)


def test_a_key_goes_only_to_who_was_a_member_and_still_is() -> None:
    all_three = room(alice(), bob(), carol())
    without = room(alice(), bob(), version=2)
    assert may_answer_key(bob().fp, all_three, without)
    assert not may_answer_key(carol().fp, all_three, without)
    assert not may_answer_key(carol().fp, without, all_three)
    other = room(alice(), bob(), room_id=b"o" * 16, grant=grant_of(b"o" * 16))
    assert not may_answer_key(bob().fp, all_three, other)


def grant_of(room_id: bytes) -> bytes:
    from securerelay.sealing.roomlist import build_grant

    return build_grant(alice().author, room_id, 1, [])
