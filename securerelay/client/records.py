"""What a profile remembers of the messages it sent, read from its database."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from securerelay.client.rows import ACCEPTED, EXPIRED, QUEUED, READ, STATES, Record

_STATE = (
    f"CASE WHEN m.read IS NOT NULL AND m.state BETWEEN {ACCEPTED} AND {EXPIRED} "
    f"THEN {READ} ELSE m.state END"
)
_FIELDS = (
    f"m.id, m.id & 1099511627775, s.name, m.recipient, m.size, {_STATE}, m.queued, m.settled, "
    "m.delivered, m.code, m.read"
)


def find(db: sqlite3.Connection, message: int) -> Record | None:
    """Return what is remembered of one message.

    Args:
        db: the profile's database.
        message: its row.
    """
    found = _read(db, "WHERE m.id = ?", (message,))
    return found[0] if found else None


def sent(db: sqlite3.Connection, limit: int, state: str | None = None) -> list[Record]:
    """List the newest messages for people, the oldest of them first.

    Args:
        db: the profile's database.
        limit: how many.
        state: only those in this state; None for all.
    """
    where, values = "WHERE m.form < 2", []
    if state is not None:
        where, values = f"{where} AND {_STATE} = ?", [STATES.index(state)]
    found = _read(db, f"{where} ORDER BY m.queued DESC, m.id DESC LIMIT ?", (*values, limit))
    return found[::-1]


def queued(db: sqlite3.Connection) -> int:
    """Count the messages without a verdict."""
    (count,) = db.execute(
        "SELECT count(*) FROM stream s JOIN message m ON m.id BETWEEN "
        "(s.id << 40) + s.answered + 1 AND (s.id << 40) + s.last "
        "WHERE s.answered < s.last AND m.state = ?",
        (QUEUED,),
    ).fetchone()
    return int(count)


def _read(db: sqlite3.Connection, rest: str, values: Sequence[object]) -> list[Record]:
    rows = db.execute(
        f"SELECT {_FIELDS} FROM message m JOIN stream s ON s.id = m.id >> 40 {rest}",  # noqa: S608
        values,
    ).fetchall()
    return [
        Record(
            *(name, seq, to, size, STATES[state], at, settled, delivered, code),
            missed=_missed(db, message),
            read=read,
        )
        for message, seq, name, to, size, state, at, settled, delivered, code, read in rows
    ]


def _missed(db: sqlite3.Connection, message: int) -> dict[str, str]:
    """Return the members of a room that do not get a message, each with the reason."""
    rows = db.execute("SELECT peer, code FROM missed WHERE message = ? ORDER BY peer", (message,))
    return dict(rows.fetchall())
