"""Sending streams, their refusals and receipts, in SQL."""

# ruff: noqa: D103 - securerelay.store.interface documents what each operation does.

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from securerelay.store.interface import KEPT
from securerelay.store.ledger import Key, Ledger, Position
from securerelay.store.rows import Receipt, StreamRow
from securerelay.store.sql_insert import insert


def open_stream(
    db: sqlite3.Connection, ledger: Ledger, sender: str, stream: str, answered: int, now: int
) -> StreamRow:
    key = sender, stream
    ledger.forget_stream(key)
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
            Receipt(sender, stream, seq, peer, time, expired == 1, expired == 2)
            for seq, peer, time, expired in receipts
        ),
    )


def move(db: sqlite3.Connection, places: dict[Key, Position]) -> None:
    """Write down where streams stand after a batch."""
    moved: list[object] = []
    refused: list[object] = []
    for key, place in places.items():
        if place.moved:
            moved += (*key, place.last, place.used)
            place.moved = False
        for seq, code in place.refused.items():
            refused += (*key, seq, code)
        place.refused.clear()
    upsert = "ON CONFLICT (sender, stream) DO UPDATE SET last = excluded.last, used = excluded.used"
    insert(db, "stream", 4, moved, upsert)
    insert(db, "refusal", 4, refused)


def keep_receipts(db: sqlite3.Connection, receipts: Iterable[Receipt]) -> None:
    """Keep receipts, but for streams that nobody will open again."""
    db.executemany(
        "INSERT OR REPLACE INTO receipt SELECT sender, stream, ?3, ?4, ?5, ?6 FROM stream "
        "WHERE sender = ?1 AND stream = ?2",
        [
            (row.sender, row.stream, row.seq, row.peer, row.time, 2 if row.missed else row.expired)
            for row in receipts
        ],
    )


def forget_receipts(db: sqlite3.Connection, receipts: Iterable[Receipt]) -> None:
    """Delete what senders have been told."""
    db.executemany(
        "DELETE FROM receipt WHERE sender = ? AND stream = ? AND seq = ? AND peer = ?",
        [(row.sender, row.stream, row.seq, row.peer) for row in receipts],
    )


def forget_streams(db: sqlite3.Connection, ledger: Ledger, now: int) -> None:
    """Delete the streams that were long unused, and with them what belongs to them."""
    ledger.forget_streams()
    db.execute("DELETE FROM stream WHERE used + ? <= ?", (KEPT, now))
