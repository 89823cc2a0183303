"""What a profile does not remember any longer."""

from __future__ import annotations

import sqlite3

from securerelay.client import heads
from securerelay.client.rows import QUEUED
from securerelay.sealing import resend

DAY = 86_400_000
"""Milliseconds."""
KEPT = 30 * DAY
"""Milliseconds for which the fate of a message is remembered, as long as the relay remembers its
stream.
"""
DEALT_KEPT = 60 * DAY
"""Milliseconds for which another's stream is remembered: no sender repeats a message so late."""
RESEND_KEPT = resend.KEPT
"""Milliseconds for which the content of a sealed message is kept, should it be asked for again."""
MOST_RESENT = 50_000
"""Sealed messages whose content is kept at most."""
MOST_SETTLED = 1_000_000
"""Messages with a verdict that are remembered at most."""
MOST_DEALT = 200_000
"""Streams of others that are remembered at most, and of what came of their indices."""
MOST_OF_ONE = 50_000
"""Streams of one sender among them: whoever has many has only its own forgotten."""


def forget(db: sqlite3.Connection, now: int) -> None:
    """Delete what is too old, or too much; what has no verdict stays.

    Args:
        db: within a transaction.
        now: Unix ms.
    """
    db.execute("DELETE FROM message WHERE state != ? AND settled < ?", (QUEUED, now - KEPT))
    db.execute(
        "UPDATE message SET body = NULL WHERE form > 0 AND state != ? AND body IS NOT NULL AND "
        "(settled < ? OR id IN (SELECT id FROM message WHERE form > 0 AND state != ? "
        "ORDER BY queued DESC LIMIT -1 OFFSET ?))",
        (QUEUED, now - RESEND_KEPT, QUEUED, MOST_RESENT),
    )
    db.execute(
        "DELETE FROM message WHERE id IN (SELECT id FROM message WHERE state != ? "
        "ORDER BY queued DESC LIMIT -1 OFFSET ?)",
        (QUEUED, MOST_SETTLED),
    )
    db.execute(
        "DELETE FROM stream WHERE (answered >= last OR held) AND created < ? AND NOT EXISTS "
        "(SELECT 1 FROM message WHERE message.id BETWEEN stream.id << 40 AND "
        "(stream.id + 1) << 40)",
        (now - DAY,),
    )
    db.execute("DELETE FROM missed WHERE message NOT IN (SELECT id FROM message)")
    heads.forget(db, now)
    db.execute(
        "DELETE FROM dealt WHERE (sender, stream) IN (SELECT sender, stream FROM "
        "(SELECT sender, stream, row_number() OVER (PARTITION BY sender ORDER BY used DESC) AS nth "
        "FROM dealt) WHERE nth > ?)",
        (MOST_OF_ONE,),
    )
    for table, key in (("dealt", "sender, stream"), ("account", "fp, stream, recipient")):
        db.execute(f"DELETE FROM {table} WHERE used < ?", (now - DEALT_KEPT,))  # noqa: S608
        db.execute(
            f"DELETE FROM {table} WHERE ({key}) IN "  # noqa: S608
            f"(SELECT {key} FROM {table} ORDER BY used DESC LIMIT -1 OFFSET ?)",
            (MOST_DEALT,),
        )
