"""The rooms of the store in memory."""

# ruff: noqa: D102 - securerelay.store.interface documents every method.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from securerelay.errors import Refused
from securerelay.names import skeleton
from securerelay.store.answers import answered
from securerelay.store.interface import LISTS_KEPT, NAME_TAKEN
from securerelay.store.rows import RoomListRow, RoomRow


class MemoryRooms:
    """Rooms, in dictionaries."""

    def __init__(self) -> None:
        self.is_open = False
        self._rooms: dict[str, RoomRow] = {}
        self._lists: dict[tuple[str, int], RoomListRow] = {}
        self._followed: dict[tuple[str, int], int] = {}

    @answered
    def room_create(
        self, name: str, owner: str, now: int, *, join: str = "invitation", post: str = "members"
    ) -> RoomRow:
        for other in self._rooms:
            if skeleton(other) == skeleton(name):
                raise Refused("name-taken", NAME_TAKEN.format(name))
        self._rooms[name] = RoomRow(name, owner, 1, join, post, now, (owner,))
        return self._rooms[name]

    @answered
    def room_change(
        self,
        name: str,
        *,
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
        join: str | None = None,
        post: str | None = None,
        owner: str | None = None,
        version: int | None = None,
    ) -> RoomRow:
        room = self._checked(name, version)
        changed = replace(
            room,
            owner=room.owner if owner is None else owner,
            join=room.join if join is None else join,
            post=room.post if post is None else post,
            members=tuple(sorted(({*room.members} | {*add}) - {*remove})),
        )
        if changed != room:
            changed = replace(changed, version=room.version + 1)
            self._rooms[name] = changed
        return changed

    @answered
    def room_publish(
        self, row: RoomListRow, members: Sequence[str], now: int, most: int
    ) -> RoomRow:
        room = self._checked(row.room, None)
        if row.version != room.listed + 1:
            raise Refused("room-changed", row.room)
        counted = [key for key in self._lists if key[0] == row.room and not self._old(key, now)]
        if len(counted) >= most:
            raise Refused("too-many", row.room)
        self._forget_lists(now)
        if room.listed:
            self._followed[row.room, room.listed] = now
        self._lists[row.room, row.version] = row
        changed = replace(
            room, members=tuple(members), version=room.version + 1, listed=row.version
        )
        self._rooms[row.room] = changed
        return changed

    @answered
    def room_list(self, name: str, version: int | None = None) -> RoomListRow | None:
        room = self._rooms.get(name)
        if room is None:
            return None
        return self._lists.get((name, room.listed if version is None else version))

    @answered
    def room_delete(self, name: str, version: int | None = None) -> None:
        self._checked(name, version)
        del self._rooms[name]
        for key in [key for key in self._lists if key[0] == name]:
            del self._lists[key]
            self._followed.pop(key, None)

    @answered
    def room(self, name: str) -> RoomRow | None:
        return self._rooms.get(name)

    @answered
    def rooms(self, member: str | None = None) -> list[RoomRow]:
        rows = (self._rooms[name] for name in sorted(self._rooms))
        return [room for room in rows if member is None or member in room.members]

    @answered
    def room_count(self, member: str) -> int:
        return sum(member in room.members for room in self._rooms.values())

    def _checked(self, name: str, version: int | None) -> RoomRow:
        room = self._rooms.get(name)
        if room is None:
            raise Refused("unknown", name)
        if version not in (None, room.version):
            raise Refused("room-changed", name)
        return room

    def _forget_lists(self, now: int) -> None:
        for key in [key for key in self._followed if self._old(key, now)]:
            del self._lists[key], self._followed[key]

    def _old(self, key: tuple[str, int], now: int) -> bool:
        return key in self._followed and self._followed[key] + LISTS_KEPT <= now

    def _leave_rooms(self, name: str) -> None:
        for room in list(self._rooms.values()):
            if name in room.members:
                members = tuple(member for member in room.members if member != name)
                self._rooms[room.name] = replace(room, members=members, version=room.version + 1)

    def _room_version(self, name: str) -> int | None:
        room = self._rooms.get(name)
        return None if room is None else room.version
