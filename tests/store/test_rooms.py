"""Rooms: the same in every store."""

from __future__ import annotations

import pytest

from securerelay.errors import Refused
from securerelay.store.interface import Store
from securerelay.store.rows import RoomRow
from tests.store.samples import NOW, result


def refusal(answer) -> str:
    with pytest.raises(Refused) as error:
        result(answer)
    return error.value.code


def test_a_room_begins_with_its_owner(store: Store):
    expected = RoomRow("@team", "alice", 1, "invitation", "members", NOW, ("alice",))
    assert result(store.room_create("@team", "alice", NOW)) == expected
    assert result(store.room("@team")) == expected
    assert result(store.room("@none")) is None


def test_a_room_is_made_with_the_rules_asked_for(store: Store):
    room = result(store.room_create("@news", "alice", NOW, join="open", post="owner"))
    assert (room.join, room.post) == ("open", "owner")
    assert result(store.room("@news")) == room


@pytest.mark.parametrize("name", ["@team", "@tearn"])
def test_a_room_whose_name_looks_like_anothers_is_not_made(store: Store, name: str):
    result(store.room_create("@team", "alice", NOW))
    assert refusal(store.room_create(name, "bob", NOW)) == "name-taken"
    assert [room.owner for room in result(store.rooms())] == ["alice"]


def test_every_change_raises_the_version(store: Store):
    result(store.room_create("@team", "alice", NOW))
    room = result(store.room_change("@team", add=["carol", "bob"]))
    assert (room.version, room.members) == (2, ("alice", "bob", "carol"))
    room = result(store.room_change("@team", remove=["alice"], owner="bob", post="owner"))
    assert (room.version, room.members) == (3, ("bob", "carol"))
    room = result(store.room_change("@team", join="open", version=3))
    assert room == RoomRow("@team", "bob", 4, "open", "owner", NOW, ("bob", "carol"))
    assert result(store.room("@team")) == room


def test_what_is_so_already_changes_nothing(store: Store):
    room = result(store.room_create("@team", "alice", NOW))
    same = store.room_change("@team", add=["alice"], remove=["bob"], owner="alice")
    assert result(same) == room
    assert result(store.room("@team")).version == 1


def test_a_change_of_what_has_changed_meanwhile_is_refused(store: Store):
    result(store.room_create("@team", "alice", NOW))
    result(store.room_change("@team", add=["bob"]))
    assert refusal(store.room_change("@team", add=["carol"], version=1)) == "room-changed"
    assert refusal(store.room_delete("@team", 1)) == "room-changed"
    assert result(store.room("@team")).members == ("alice", "bob")


def test_what_does_not_exist_cannot_be_changed(store: Store):
    assert refusal(store.room_change("@team", add=["carol"])) == "unknown"
    assert refusal(store.room_delete("@team")) == "unknown"


def test_a_deleted_room_is_gone_with_its_members(store: Store):
    result(store.room_create("@team", "alice", NOW))
    result(store.room_change("@team", add=["bob"]))
    result(store.room_delete("@team", 2))
    assert result(store.room("@team")) is None
    assert result(store.rooms("bob")) == []
    assert result(store.room_create("@team", "carol", NOW)).members == ("carol",)


def test_rooms_are_listed_by_name_for_all_or_for_a_member(store: Store):
    for name, owner in (("@c", "alice"), ("@a", "alice"), ("@b", "bob")):
        result(store.room_create(name, owner, NOW))
    result(store.room_change("@c", add=["bob"]))
    assert [room.name for room in result(store.rooms())] == ["@a", "@b", "@c"]
    found = result(store.rooms("bob"))
    assert [(room.name, room.members) for room in found] == [
        ("@b", ("bob",)),
        ("@c", ("alice", "bob")),
    ]
    assert result(store.rooms("nobody")) == []


def test_the_rooms_of_a_peer_are_counted(store: Store):
    result(store.room_create("@a", "alice", NOW))
    result(store.room_create("@b", "bob", NOW))
    result(store.room_change("@b", add=["alice"]))
    assert [result(store.room_count(name)) for name in ("alice", "bob", "carol")] == [2, 1, 0]
