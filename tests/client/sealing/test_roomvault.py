"""What a profile's database keeps of rooms, and for how long."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from securerelay.client.sealing.roomvault import MOST_KEYS, RoomVault
from securerelay.sealing import roomkey, roomlist
from securerelay.sealing.roomkey import RoomKey
from tests.client.sealing.test_vault import Drawer
from tests.sealing.world import DAY, HOUR, MS, alice, bob, carol, room, room_key

ONE = room(alice(), bob(), carol())
TWO = room(alice(), bob(), version=2)


class Rooms(Drawer):
    """A drawer with the part of the vault that is for rooms."""

    def __init__(self, folder: pathlib.Path) -> None:
        super().__init__(folder)
        self.rooms = RoomVault(self.vault)

    def save(self, one: roomlist.RoomList, now: int = MS) -> None:
        self.do(lambda state: self.rooms.save(state, roomlist.take(one, None), one, now))

    def add(self, key: RoomKey, now: int = MS, **more: bool) -> None:
        self.do(lambda state: self.rooms.add_key(state, key, now, **more))

    def key(self, key: RoomKey) -> RoomKey | None:
        found: RoomKey | None = self.do(lambda state: self.rooms.key(state, key.id))
        return found

    def destroy(self, drained: int | None, now: int, *named: RoomKey) -> set[bytes]:
        names = {one.id for one in named}
        gone: set[bytes] = self.do(
            lambda state: self.rooms.destroy(state, drained, names, now),
        )
        return gone


@pytest.fixture
def drawer(tmp_path: pathlib.Path) -> Iterator[Rooms]:
    made = Rooms(tmp_path)
    yield made
    made.state.close()


def test_the_newest_list_comes_back_with_its_pin(drawer: Rooms):
    assert drawer.do(lambda state: drawer.rooms.room(state, "@team")) is None
    for one in (ONE, TWO):
        drawer.save(one)
        pinned = roomlist.take(one, None)
        assert drawer.do(lambda state: drawer.rooms.room(state, "@team")) == (pinned, one)
    assert drawer.do(drawer.rooms.names) == {ONE.room_id: "@team"}


def test_an_older_list_is_held_for_sixteen_days(drawer: Rooms):
    drawer.save(ONE, MS)
    drawer.save(TWO, MS + DAY)
    drawer.save(TWO, MS + 17 * DAY - 1)
    assert drawer.do(lambda state: drawer.rooms.list_of(state, ONE.hash)) == ONE
    drawer.save(TWO, MS + 17 * DAY)
    assert drawer.do(lambda state: drawer.rooms.list_of(state, ONE.hash)) is None
    assert drawer.do(lambda state: drawer.rooms.list_of(state, TWO.hash)) == TWO


def test_a_key_comes_back_and_is_nowhere_in_the_clear(drawer: Rooms):
    drawer.save(ONE)
    key = room_key(ONE, bob(), b"this is a secret of thirty-two b")
    drawer.add(key)
    assert drawer.key(key) == key
    assert key.secret not in drawer.bytes()


def test_our_own_key_serves_for_its_list_a_day_and_a_thousand_messages(drawer: Rooms):
    drawer.save(ONE)
    key = room_key(ONE)
    drawer.add(key, own=True)
    rooms = drawer.rooms

    def own(one: roomlist.RoomList = ONE, now: int = MS) -> bool:
        return drawer.do(lambda state: rooms.own_key(state, one, now)) is not None

    assert own(now=MS + DAY - 1)
    assert not own(now=MS + DAY)
    assert not own(TWO)
    drawer.do(lambda state: rooms.note_sealed(state, key.id, 999))
    assert own()
    drawer.do(lambda state: rooms.note_sealed(state, key.id, 1))
    assert not own()


def test_a_key_of_another_member_never_serves_as_ours(drawer: Rooms):
    drawer.save(ONE)
    drawer.add(room_key(ONE, bob()))
    assert drawer.do(lambda state: drawer.rooms.own_key(state, ONE, MS)) is None


def test_a_key_goes_two_hours_after_its_senders_next_one_once_all_is_read(drawer: Rooms):
    drawer.save(ONE)
    one, two = room_key(ONE, bob()), room_key(ONE, bob(), b"n" * 32)
    drawer.add(one)
    drawer.add(two, MS + HOUR)
    now = MS + 3 * HOUR
    assert not drawer.destroy(now - 1, now - 1)
    assert not drawer.destroy(None, now)
    assert not drawer.destroy(now, now, one)
    assert drawer.destroy(now, now) == {one.id}
    assert drawer.key(one) is None
    assert drawer.key(two) == two


def test_a_key_without_a_next_one_goes_after_a_day_and_two_hours_and_two_more(drawer: Rooms):
    drawer.save(ONE)
    key = room_key(ONE, bob())
    drawer.add(key)
    now = MS + roomkey.RECEIVER_KEEPS + 2 * HOUR
    assert not drawer.destroy(now - 1, now - 1)
    assert drawer.destroy(now, now) == {key.id}


def test_a_key_that_was_asked_for_is_not_taken_for_the_next_one(drawer: Rooms):
    drawer.save(ONE)
    newest, asked = room_key(ONE, bob()), room_key(ONE, bob(), b"n" * 32)
    drawer.add(newest)
    drawer.add(asked, MS, next_one=False)
    assert not drawer.destroy(MS + 3 * HOUR, MS + 3 * HOUR)


def test_our_own_keys_are_kept_three_days_to_answer_those_who_miss_them(drawer: Rooms):
    drawer.save(ONE)
    key = room_key(ONE)
    drawer.add(key, own=True)
    assert not drawer.destroy(None, MS + 3 * DAY - 1)
    assert drawer.destroy(None, MS + 3 * DAY) == {key.id}


def test_a_member_who_sends_keys_without_end_fills_nothing(drawer: Rooms):
    drawer.save(ONE)
    keys = [room_key(ONE, bob(), number.to_bytes(32, "big")) for number in range(MOST_KEYS + 5)]
    for at, key in enumerate(keys):
        drawer.add(key, MS + at)
    kept = [key for key in keys if drawer.key(key) is not None]
    assert kept == keys[5:]


def test_a_room_that_is_forgotten_leaves_no_key(drawer: Rooms):
    drawer.save(ONE)
    key = room_key(ONE, bob())
    drawer.add(key)
    assert drawer.do(lambda state: drawer.rooms.forget(state, "@team"))
    assert not drawer.do(lambda state: drawer.rooms.forget(state, "@team"))
    assert drawer.key(key) is None
    assert drawer.do(drawer.rooms.names) == {}
