"""Sending streams, their refusals and receipts, in SQL."""

# ruff: noqa: D103 - securerelay.store.interface documents what each operation does.

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from securerelay.store.interface import KEPT, MAX_REFUSALS
from securerelay.store.rows import Receipt, StreamRow


def open_stream(
    db: sqlite3.Connection, sender: str, stream: str, answered: int, now: int
) -> StreamRow:
    key = sender, stream
    row = db.execute("SELECT last FROM stream WHERE sender = ? AND stream = ?", key).fetchone()
    if row is None:
        if answered:
            return StreamRow(0, known=False)
        db.execute("INSERT INTO stream VALUES (?, ?, 0, ?)", (*key, now))
        return StreamRow(0, known=True)
    last = max(row[0], answered)
    db.execute(
        "UPDATE stream SET last = ?, used = ? WHERE sender = ? AND stream = ?", (last, now, *key)
    )
    db.execute("DELETE FROM refusal WHERE sender = ? AND stream = ? AND seq <= ?", (*key, answered))
    refusals = db.execute(
        "SELECT seq, code FROM refusal WHERE sender = ? AND stream = ? ORDER BY seq", key
    )
    receipts = db.execute(
        "SELECT seq, peer, time, expired FROM receipt "
        "WHERE sender = ? AND stream = ? ORDER BY seq, peer",
        key,
    )
    return StreamRow(
        last,
        True,
        tuple(refusals.fetchall()),
        tuple(
            Receipt(sender, stream, seq, peer, time, bool(expired))
            for seq, peer, time, expired in receipts
        ),
    )


class Position:
    """Where one stream stands in the middle of a batch.

    Attributes:
        last: the last consumed seq.
        used: when it was used.
        refused: the refusals made in this batch.
    """

    __slots__ = ("_before", "_key", "last", "refused", "used")

    def __init__(self, key: tuple[str, str], last: int, used: int) -> None:
        self._key = key
        self._before = -1
        self.last = last
        self.used = used
        self.refused: dict[int, str] = {}

    def refusal(self, db: sqlite3.Connection, seq: int) -> str | None:
        """Find the code with which a consumed seq was refused."""
        if seq in self.refused:
            return self.refused[seq]
        row = db.execute(
            "SELECT code FROM refusal WHERE sender = ? AND stream = ? AND seq = ?",
            (*self._key, seq),
        ).fetchone()
        return None if row is None else str(row[0])

    def may_refuse(self, db: sqlite3.Connection) -> bool:
        """Tell whether one more refusal can be remembered."""
        if self._before < 0:
            query = "SELECT count(*) FROM refusal WHERE sender = ? AND stream = ?"
            (self._before,) = db.execute(query, self._key).fetchone()
        return self._before + len(self.refused) < MAX_REFUSALS


def position(db: sqlite3.Connection, key: tuple[str, str]) -> Position | None:
    """Look up where a stream stands; None if there is none."""
    query = "SELECT last, used FROM stream WHERE sender = ? AND stream = ?"
    row = db.execute(query, key).fetchone()
    return None if row is None else Position(key, *row)


def move(db: sqlite3.Connection, positions: dict[tuple[str, str], Position | None]) -> None:
    """Write down where streams stand after a batch."""
    moved = [(place.last, place.used, *key) for key, place in positions.items() if place]
    db.executemany("UPDATE stream SET last = ?, used = ? WHERE sender = ? AND stream = ?", moved)
    refused = [
        (*key, seq, code)
        for key, place in positions.items()
        if place
        for seq, code in place.refused.items()
    ]
    if refused:
        db.executemany("INSERT INTO refusal VALUES (?, ?, ?, ?)", refused)


def keep_receipts(db: sqlite3.Connection, receipts: Iterable[Receipt]) -> None:
    """Keep receipts, but for streams that nobody will open again."""
    db.executemany(
        "INSERT OR REPLACE INTO receipt SELECT sender, stream, ?3, ?4, ?5, ?6 FROM stream "
        "WHERE sender = ?1 AND stream = ?2",
        [(row.sender, row.stream, row.seq, row.peer, row.time, row.expired) for row in receipts],
    )


def forget_receipts(db: sqlite3.Connection, receipts: Iterable[Receipt]) -> None:
    """Delete what senders have been told."""
    db.executemany(
        "DELETE FROM receipt WHERE sender = ? AND stream = ? AND seq = ? AND peer = ?",
        [(row.sender, row.stream, row.seq, row.peer) for row in receipts],
    )


def forget_streams(db: sqlite3.Connection, now: int) -> None:
    """Delete the streams that were long unused, and with them what belongs to them."""
    db.execute("DELETE FROM stream WHERE used + ? <= ?", (KEPT, now))
