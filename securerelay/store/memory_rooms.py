"""The rooms of the store in memory."""

# ruff: noqa: D102 - securerelay.store.interface documents every method.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from securerelay.errors import Refused
from securerelay.names import skeleton
from securerelay.store.answers import answered
from securerelay.store.rows import RoomRow


class MemoryRooms:
    """Rooms, in a dictionary."""

    def __init__(self) -> None:
        self.is_open = False
        self._rooms: dict[str, RoomRow] = {}

    @answered
    def room_create(
        self, name: str, owner: str, now: int, *, join: str = "invitation", post: str = "members"
    ) -> RoomRow:
        for other in self._rooms:
            if skeleton(other) == skeleton(name):
                raise Refused("name-taken", other)
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
    def room_delete(self, name: str, version: int | None = None) -> None:
        self._checked(name, version)
        del self._rooms[name]

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

    def _leave_rooms(self, name: str) -> None:
        for room in list(self._rooms.values()):
            if name in room.members:
                members = tuple(member for member in room.members if member != name)
                self._rooms[room.name] = replace(room, members=members, version=room.version + 1)

    def _room_version(self, name: str) -> int | None:
        room = self._rooms.get(name)
        return None if room is None else room.version
