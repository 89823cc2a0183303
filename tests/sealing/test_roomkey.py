"""A room key is for one list, one sender and one day."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from securerelay.protocol.items import encode_items, u64
from securerelay.sealing import roomkey
from securerelay.sealing.roomkey import RoomKey
from securerelay.sealing.roomlist import RoomList
from securerelay.sealing.verdicts import Verdict
from tests.sealing.world import (
    DAY,
    HOUR,
    MS,
    ROOM_ID,
    alice,
    bob,
    carol,
    refused,
    room,
    room_key,
)

LIST = room(alice(), bob())
KEY = room_key(LIST)


def take(body: bytes, *lists: RoomList, sender=alice, me=bob) -> RoomKey:  # type: ignore[no-untyped-def]
    held = {one.hash: one for one in lists or (LIST,)}
    return roomkey.take(body, sender().identity, me().identity, held.get)


def test_a_keys_id_is_derived_from_it() -> None:
    prk = hmac.digest(bytes(32), b"k" * 32, "sha256")
    info = b"securerelay/1 e2e room key id"
    assert KEY.id == hmac.new(prk, info + b"\1", hashlib.sha256).digest()[:16]


def test_a_key_travels_with_room_version_and_list() -> None:
    assert KEY.body() == encode_items([(1, ROOM_ID), (2, u64(1)), (3, LIST.hash), (4, b"k" * 32)])
    assert take(KEY.body()) == KEY
    assert roomkey.meant(KEY.body()) == (ROOM_ID, 1, LIST.hash)
    with refused(Verdict.ALTERED):
        roomkey.meant(KEY.body()[:-1])


def test_a_key_for_a_list_not_held_waits_for_it() -> None:
    with refused(Verdict.LIST_NEEDED):
        take(KEY.body(), room(alice(), bob(), carol()))


def test_a_key_of_somebody_outside_the_room_is_refused() -> None:
    with refused(Verdict.ALTERED):
        take(KEY.body(), sender=carol)


def test_a_key_of_a_room_that_we_are_not_in_is_refused() -> None:
    with refused(Verdict.ALTERED):
        take(KEY.body(), me=carol)


@pytest.mark.parametrize(("kind", "value"), [(1, b"o" * 16), (2, u64(2))])
def test_a_key_that_does_not_fit_its_list_is_refused(kind: int, value: bytes) -> None:
    values = {1: ROOM_ID, 2: u64(1), 3: LIST.hash, 4: b"k" * 32, kind: value}
    with refused(Verdict.ALTERED):
        take(encode_items(sorted(values.items())))


@pytest.mark.parametrize("body", [b"", KEY.body()[:-1], KEY.body() + b"\0"])
def test_what_is_no_key_is_refused(body: bytes) -> None:
    with refused(Verdict.ALTERED):
        take(body)


def test_a_sender_makes_a_new_key_after_a_day_a_thousand_messages_or_a_new_list() -> None:
    assert KEY.serves(LIST, MS, 999, MS + DAY - 1)
    assert KEY.serves(LIST, MS, 0, MS)
    assert not KEY.serves(LIST, MS, 0, MS + DAY)
    assert not KEY.serves(LIST, MS, 1000, MS)
    assert not KEY.serves(room(alice(), bob(), version=2), MS, 0, MS)
    assert not KEY.serves(LIST, MS, 0, MS - 1)


def test_nobody_makes_a_key_for_a_room_without_being_in_it() -> None:
    for sender, secret in ((carol().fp, b"k" * 32), (alice().fp, b"k" * 31)):
        with pytest.raises(ValueError, match="room key"):
            RoomKey.make(sender, LIST, secret)


def test_a_receivers_key_is_superseded_by_the_next_or_after_twenty_six_hours() -> None:
    assert roomkey.superseded(MS, None) == MS + 26 * HOUR
    assert roomkey.superseded(MS, MS + HOUR) == MS + HOUR
    assert roomkey.superseded(MS, MS + 30 * HOUR) == MS + 26 * HOUR


def test_no_secret_shows_when_a_key_is_printed() -> None:
    assert repr(b"k" * 32) not in repr(KEY)
