"""Messages whose recipient said that they were read."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection

_SEQS = 1 << 40


def note(
    db: sqlite3.Connection,
    to: str,
    bound: Collection[bytes],
    stream: str,
    first: int,
    last: int,
    now: int,
) -> list[int]:
    """Note that messages were read, as far as that was asked.

    Args:
        db: within a transaction.
        to: who says so.
        bound: that one's fingerprints; it cannot have read what was sealed for others.
        stream: the stream they are in.
        first: the index of the first among those to that recipient.
        last: the index of the last.
        now: Unix ms.

    Returns:
        Their numbers in the stream, without those that were known to be read.
    """
    row = db.execute("SELECT id FROM stream WHERE name = ?", (stream,)).fetchone()
    if row is None:
        return []
    base, found = row[0] * _SEQS, list[int]()
    # A message's index is never above its number in the stream, and both rise together.
    for message, place, key in db.execute(
        "SELECT id, place, bound FROM message WHERE receipt = 1 AND read IS NULL AND "
        "recipient = ? AND id BETWEEN ? AND ? ORDER BY id",
        (to, base + min(first, _SEQS), base + _SEQS - 1),
    ):
        if place > last:
            break
        if place >= first and key in bound:
            found.append(message)
    db.executemany("UPDATE message SET read = ? WHERE id = ?", [(now, one) for one in found])
    return [one - base for one in found]
