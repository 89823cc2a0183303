"""Rooms, in SQL."""

# ruff: noqa: D103 - securerelay.store.interface documents what each operation does.

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from securerelay.errors import Refused
from securerelay.names import skeleton
from securerelay.store.interface import LISTS_KEPT, NAME_TAKEN
from securerelay.store.rows import RoomListRow, RoomRow

_ROOM = "SELECT name, owner, version, admission, post, created, listed FROM room"


def room(db: sqlite3.Connection, name: str) -> RoomRow | None:
    row = db.execute(_ROOM + " WHERE name = ?", (name,)).fetchone()
    return None if row is None else _with_members(db, row)


def _with_members(db: sqlite3.Connection, row: tuple[Any, ...]) -> RoomRow:
    name, owner, version, join, post, created, listed = row
    rows = db.execute("SELECT peer FROM member WHERE room = ? ORDER BY peer", (name,))
    members = tuple(peer for (peer,) in rows)
    return RoomRow(name, owner, version, join, post, created, members, listed)


def rooms(db: sqlite3.Connection, member: str | None) -> list[RoomRow]:
    if member is None:
        rows = db.execute(_ROOM + " ORDER BY name").fetchall()
    else:
        query = " WHERE name IN (SELECT room FROM member WHERE peer = ?) ORDER BY name"
        rows = db.execute(_ROOM + query, (member,)).fetchall()
    return [_with_members(db, row) for row in rows]


def room_count(db: sqlite3.Connection, member: str) -> int:
    (count,) = db.execute("SELECT count(*) FROM member WHERE peer = ?", (member,)).fetchone()
    return int(count)


def room_version(db: sqlite3.Connection, name: str) -> int | None:
    row = db.execute("SELECT version FROM room WHERE name = ?", (name,)).fetchone()
    return None if row is None else int(row[0])


def create_room(
    db: sqlite3.Connection, name: str, owner: str, now: int, join: str, post: str
) -> RoomRow:
    clash = db.execute("SELECT 1 FROM room WHERE skeleton = ?", (skeleton(name),)).fetchone()
    if clash is not None:
        raise Refused("name-taken", NAME_TAKEN.format(name))
    db.execute(
        "INSERT INTO room VALUES (?, ?, ?, 1, ?, ?, ?, 0)",
        (name, skeleton(name), owner, join, post, now),
    )
    db.execute("INSERT INTO member VALUES (?, ?)", (name, owner))
    return RoomRow(name, owner, 1, join, post, now, (owner,))


def _checked(db: sqlite3.Connection, name: str, version: int | None) -> RoomRow:
    found = room(db, name)
    if found is None:
        raise Refused("unknown", name)
    if version not in (None, found.version):
        raise Refused("room-changed", name)
    return found


def change_room(
    db: sqlite3.Connection,
    name: str,
    add: Sequence[str],
    remove: Sequence[str],
    rules: tuple[str | None, str | None, str | None],
    version: int | None,
) -> RoomRow:
    """Change a room; ``rules`` are join, post and owner, each None if it stays."""
    old = _checked(db, name, version)
    join, post, owner = rules
    new = replace(
        old,
        owner=old.owner if owner is None else owner,
        join=old.join if join is None else join,
        post=old.post if post is None else post,
        members=tuple(sorted(({*old.members} | {*add}) - {*remove})),
    )
    return old if new == old else _follow(db, old, new)


def _follow(db: sqlite3.Connection, old: RoomRow, new: RoomRow) -> RoomRow:
    """Put a room as it is now in the place of what it was, one version higher."""
    name, before, after = old.name, {*old.members}, {*new.members}
    new = replace(new, version=old.version + 1)
    db.execute(
        "UPDATE room SET owner = ?, version = ?, admission = ?, post = ?, listed = ? "
        "WHERE name = ?",
        (new.owner, new.version, new.join, new.post, new.listed, name),
    )
    gone, came = before - after, after - before
    db.executemany(
        "DELETE FROM member WHERE room = ? AND peer = ?", [(name, peer) for peer in gone]
    )
    db.executemany("INSERT INTO member VALUES (?, ?)", [(name, peer) for peer in came])
    return new


def publish_list(
    db: sqlite3.Connection, row: RoomListRow, members: Sequence[str], now: int, most: int
) -> RoomRow:
    old = _checked(db, row.room, None)
    if row.version != old.listed + 1:
        raise Refused("room-changed", row.room)
    (kept,) = db.execute(
        "SELECT count(*) FROM room_list WHERE room = ? AND (followed IS NULL OR followed > ?)",
        (row.room, now - LISTS_KEPT),
    ).fetchone()
    if kept >= most:
        raise Refused("too-many", row.room)
    forget_lists(db, now)
    db.execute(
        "UPDATE room_list SET followed = ? WHERE room = ? AND version = ?",
        (now, row.room, old.listed),
    )
    db.execute("INSERT INTO room_list VALUES (?, ?, NULL, ?)", (row.room, row.version, row.raw))
    return _follow(db, old, replace(old, members=tuple(members), listed=row.version))


def find_list(db: sqlite3.Connection, name: str, version: int | None) -> RoomListRow | None:
    row = db.execute(
        "SELECT room, version, list FROM room_list WHERE room = ? AND version = "
        "coalesce(?, (SELECT listed FROM room WHERE name = ?))",
        (name, version, name),
    ).fetchone()
    return None if row is None else RoomListRow(*row)


def forget_lists(db: sqlite3.Connection, now: int) -> None:
    """Delete the lists that were followed by another long ago."""
    db.execute("DELETE FROM room_list WHERE followed <= ?", (now - LISTS_KEPT,))


def delete_room(db: sqlite3.Connection, name: str, version: int | None) -> None:
    _checked(db, name, version)
    db.execute("DELETE FROM room WHERE name = ?", (name,))


def leave_rooms(db: sqlite3.Connection, peer: str) -> None:
    """Take a peer out of every room."""
    db.execute(
        "UPDATE room SET version = version + 1 "
        "WHERE name IN (SELECT room FROM member WHERE peer = ?)",
        (peer,),
    )
    db.execute("DELETE FROM member WHERE peer = ?", (peer,))
