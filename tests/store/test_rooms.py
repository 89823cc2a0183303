"""Rooms: the same in every store."""

from __future__ import annotations

import pytest

from securerelay.errors import Refused
from securerelay.store.interface import LISTS_KEPT, Store
from securerelay.store.rows import Append, Rejected, RoomListRow, RoomRow
from tests.store.samples import LATER, NOW, STREAM, message, result


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
    with pytest.raises(Refused, match=r"^name-taken: ") as error:
        result(store.room_create(name, "bob", NOW))
    assert "choose another name" in error.value.detail
    assert "@team" not in error.value.detail or name == "@team", "rooms are hidden from others"
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


# --- signed lists ---


def signed(version: int, raw: bytes = b"list") -> RoomListRow:
    return RoomListRow("@team", version, raw)


def publish(store: Store, version: int, *members: str, now: int = NOW, most: int = 9) -> RoomRow:
    return result(store.room_publish(signed(version), members, now, most))


def test_a_signed_list_brings_its_members_and_both_versions_rise(store: Store):
    result(store.room_create("@team", "alice", NOW))
    result(store.room_change("@team", add=["bob"]))
    assert result(store.room("@team")).listed == 0
    assert result(store.room_list("@team")) is None
    room = publish(store, 1, "alice", "carol")
    assert (room.version, room.listed, room.members) == (3, 1, ("alice", "carol"))
    assert result(store.room("@team")) == room
    assert result(store.rooms("bob")) == []
    assert [row.name for row in result(store.rooms("carol"))] == ["@team"]
    # The version rises even if the members are the same, for messages are sealed under it.
    assert publish(store, 2, "alice", "carol").version == 4


@pytest.mark.parametrize("version", [0, 1, 3])
def test_only_the_next_list_is_taken(store: Store, version: int):
    result(store.room_create("@team", "alice", NOW))
    publish(store, 1, "alice")
    late = store.room_publish(signed(version, b"other"), ("alice", "bob"), NOW, 9)
    assert refusal(late) == "room-changed"
    assert result(store.room("@team")).members == ("alice",)
    assert result(store.room_list("@team")) == signed(1)
    assert result(store.room_list("@team", 3)) is None


def test_a_list_of_no_room_is_refused(store: Store):
    assert refusal(store.room_publish(signed(1), ("alice",), NOW, 9)) == "unknown"


def test_lists_are_found_by_version_until_long_after_another_followed(store: Store):
    result(store.room_create("@team", "alice", NOW))
    for version in (1, 2):
        row = signed(version, b"list %d" % version)
        result(store.room_publish(row, ("alice",), NOW, 9))
    result(store.tidy(NOW + LISTS_KEPT - 1))
    assert result(store.room_list("@team", 1)) == signed(1, b"list 1")
    result(store.tidy(NOW + LISTS_KEPT))
    assert result(store.room_list("@team", 1)) is None
    # The newest one stays for ever.
    assert result(store.room_list("@team")) == signed(2, b"list 2")


def test_a_room_keeps_no_more_lists_than_the_limit(store: Store):
    result(store.room_create("@team", "alice", NOW))
    publish(store, 1, "alice", most=2)
    publish(store, 2, "alice", most=2)
    third = store.room_publish(signed(3), ("alice", "bob"), NOW, 2)
    assert refusal(third) == "too-many"
    assert result(store.room("@team")).members == ("alice",)
    # What was forgotten meanwhile makes room, though nobody tidied.
    assert publish(store, 3, "alice", now=NOW + LISTS_KEPT, most=2).listed == 3


def test_a_deleted_room_leaves_no_list_behind(store: Store):
    result(store.room_create("@team", "alice", NOW))
    publish(store, 1, "alice")
    publish(store, 2, "alice")
    result(store.room_delete("@team"))
    assert result(store.room_list("@team", 1)) is None
    result(store.room_create("@team", "bob", NOW))
    assert result(store.room_list("@team")) is None
    assert publish(store, 1, "bob").listed == 1


def test_a_message_on_its_way_when_a_list_comes_is_sent_anew(store: Store):
    result(store.room_create("@team", "alice", NOW))
    result(store.stream_open("alice", STREAM, 0, NOW))

    def sent(n: int, version: int) -> Append:
        return message(1, ("bob", n), to="@team", expiry=LATER, room_version=version)

    publish(store, 1, "alice", "bob")
    assert result(store.append([sent(1, 1)])) == [Rejected("room-changed")]
    assert result(store.append([sent(2, 2)]))[0] != Rejected("room-changed")


def test_changes_and_the_end_of_a_member_leave_the_list_as_it_is(store: Store):
    result(store.room_create("@team", "alice", NOW))
    publish(store, 1, "alice", "bob")
    room = result(store.room_change("@team", remove=["bob"], post="owner"))
    assert (room.version, room.listed, room.members) == (3, 1, ("alice",))
    assert result(store.room_list("@team")) == signed(1)
