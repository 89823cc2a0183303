"""Rooms, in SQL."""

# ruff: noqa: D103 - securerelay.store.interface documents what each operation does.

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace

from securerelay.errors import Refused
from securerelay.names import skeleton
from securerelay.store.rows import RoomRow

_ROOM = "SELECT name, owner, version, admission, post, created FROM room"


def room(db: sqlite3.Connection, name: str) -> RoomRow | None:
    row = db.execute(_ROOM + " WHERE name = ?", (name,)).fetchone()
    return None if row is None else _with_members(db, *row)


def _with_members(
    db: sqlite3.Connection, name: str, owner: str, version: int, join: str, post: str, created: int
) -> RoomRow:
    rows = db.execute("SELECT peer FROM member WHERE room = ? ORDER BY peer", (name,))
    members = tuple(peer for (peer,) in rows)
    return RoomRow(name, owner, version, join, post, created, members)


def rooms(db: sqlite3.Connection, member: str | None) -> list[RoomRow]:
    if member is None:
        rows = db.execute(_ROOM + " ORDER BY name").fetchall()
    else:
        query = " WHERE name IN (SELECT room FROM member WHERE peer = ?) ORDER BY name"
        rows = db.execute(_ROOM + query, (member,)).fetchall()
    return [_with_members(db, *row) for row in rows]


def room_count(db: sqlite3.Connection, member: str) -> int:
    (count,) = db.execute("SELECT count(*) FROM member WHERE peer = ?", (member,)).fetchone()
    return int(count)


def room_version(db: sqlite3.Connection, name: str) -> int | None:
    row = db.execute("SELECT version FROM room WHERE name = ?", (name,)).fetchone()
    return None if row is None else int(row[0])


def create_room(
    db: sqlite3.Connection, name: str, owner: str, now: int, join: str, post: str
) -> RoomRow:
    clash = db.execute("SELECT name FROM room WHERE skeleton = ?", (skeleton(name),)).fetchone()
    if clash is not None:
        raise Refused("name-taken", clash[0])
    db.execute(
        "INSERT INTO room VALUES (?, ?, ?, 1, ?, ?, ?)",
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
    before = set(old.members)
    after = (before | set(add)) - set(remove)
    new = replace(
        old,
        owner=old.owner if owner is None else owner,
        join=old.join if join is None else join,
        post=old.post if post is None else post,
        members=tuple(sorted(after)),
    )
    if new == old:
        return old
    new = replace(new, version=old.version + 1)
    db.execute(
        "UPDATE room SET owner = ?, version = ?, admission = ?, post = ? WHERE name = ?",
        (new.owner, new.version, new.join, new.post, name),
    )
    gone, came = before - after, after - before
    db.executemany(
        "DELETE FROM member WHERE room = ? AND peer = ?", [(name, peer) for peer in gone]
    )
    db.executemany("INSERT INTO member VALUES (?, ?)", [(name, peer) for peer in came])
    return new


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
