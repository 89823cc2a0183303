"""Where our streams to each recipient ended, as far as the relay said that it has the messages.

The first message of a stream tells this of others, so that a relay which drops the end of a stream,
or all of it, is found out.
"""

from __future__ import annotations

import sqlite3

from securerelay.client.rows import ACCEPTED, EXPIRED
from securerelay.protocol import lines
from securerelay.sealing import numbers
from securerelay.sealing.numbers import HEADS_LIFE, Head
from securerelay.sealing.plaintext import MAX_HEADS

KEPT = 2 * MAX_HEADS
"""Streams to a recipient that are remembered once a day is over."""


def note(db: sqlite3.Connection, first: int, last: int, time: int) -> None:
    """Note that messages were accepted.

    Args:
        db: within a transaction; the messages in it know that they were accepted.
        first: the row of the first of them.
        last: the row of the last of them, in the same stream.
        time: when, Unix ms.
    """
    db.execute(
        "INSERT INTO head (recipient, bound, stream, last, used) "
        "SELECT recipient, bound, (SELECT name FROM stream WHERE id = ?1 >> 40), max(place), ?3 "
        "FROM message WHERE id BETWEEN ?1 AND ?2 AND place > 0 AND state BETWEEN ?4 AND ?5 "
        "AND bound IS NOT NULL GROUP BY recipient, bound "
        "ON CONFLICT (recipient, bound, stream) DO UPDATE SET "
        "last = max(last, excluded.last), used = max(used, excluded.used)",
        (first, last, time, ACCEPTED, EXPIRED),
    )


def newest(
    db: sqlite3.Connection, to: str, bound: bytes, stream: bytes, now: int
) -> tuple[tuple[bytes, int], ...]:
    """Return what the first message of a stream tells of the others to its recipient.

    Args:
        db: within a transaction.
        to: the recipient.
        bound: whom the message is sealed for.
        stream: the stream, 16 bytes.
        now: Unix ms.
    """
    rows = db.execute(
        "SELECT stream, used, last FROM head WHERE recipient = ? AND bound = ? AND stream != ? "
        "ORDER BY used DESC LIMIT ?",
        (to, bound, lines.encode(stream), MAX_HEADS),
    )
    others = [Head(lines.decode(name), used, last) for name, used, last in rows]
    return numbers.heads(others, now)


def forget(db: sqlite3.Connection, now: int) -> None:
    """Forget what is not told any more."""
    db.execute("DELETE FROM head WHERE used < ?", (now - HEADS_LIFE,))
    db.execute(
        "DELETE FROM head WHERE (recipient, bound, stream) IN "
        "(SELECT recipient, bound, stream FROM (SELECT recipient, bound, stream, row_number() "
        "OVER (PARTITION BY recipient, bound ORDER BY used DESC) AS nth FROM head) WHERE nth > ?)",
        (KEPT,),
    )
