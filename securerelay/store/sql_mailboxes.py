"""Mailboxes, in SQL.

One row of ``message`` holds a body, and a row of ``mail`` stands for it in each mailbox.  Most
messages have one recipient; only rows that share a body are looked up the other way round before it
is deleted.
"""

# ruff: noqa: D103 - securerelay.store.interface documents what each operation does.

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Sequence

from securerelay.store.ledger import Key, Ledger, Position
from securerelay.store.rows import (
    Accepted,
    Acked,
    Append,
    Duplicate,
    Expired,
    MailboxState,
    Receipt,
    Refuse,
    Rejected,
    StoredMessage,
    Usage,
    Verdict,
)
from securerelay.store.sql_insert import insert
from securerelay.store.sql_rooms import room_version
from securerelay.store.sql_streams import keep_receipts, move

_ACCEPTED = Accepted()
_GAP = Rejected("gap")
_NEW_STREAM = Rejected("new-stream")
_ROOM_CHANGED = Rejected("room-changed")
_BUSY = Rejected("busy")


def _checksum(sender: str, to: str, stream: str, seq: int, time: int, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(f"{sender} {to} {stream} {seq} {time}".encode()))


def append(
    db: sqlite3.Connection, ledger: Ledger, batch: Sequence[Append | Refuse]
) -> list[Verdict]:
    """Store a batch; everything is judged before anything is written."""
    places: dict[Key, Position] = {}
    verdicts: list[Verdict] = []
    messages: list[object] = []
    mail: list[object] = []
    for item in batch:
        key = item.sender, item.stream
        place = places.get(key) or ledger.stream(db, key)
        if place is None:
            verdicts.append(_NEW_STREAM)
            continue
        places[key] = place
        verdict = _judge(db, ledger, item, key, place)
        verdicts.append(verdict)
        if verdict is not _ACCEPTED or not isinstance(item, Append) or not item.recipients:
            continue
        sender, stream, seq, to, recipients, time, expiry, receipt, body, _, _ = item
        message = ledger.next_message(db)
        checksum = _checksum(sender, to, stream, seq, time, body)
        messages += (message, to, stream, seq, time, checksum, body)
        shared, wanted = int(len(recipients) > 1), int(receipt)
        for peer, n in recipients:
            mail += (peer, n, message, shared, wanted, sender, len(body), expiry)
    insert(db, "message", 7, messages)
    insert(db, "mail", 8, mail)
    move(db, places)
    return verdicts


def _judge(
    db: sqlite3.Connection, ledger: Ledger, item: Append | Refuse, key: Key, place: Position
) -> Verdict:
    """Decide on an item, and move its stream on if it is accepted."""
    seq = item.seq
    if seq <= place.last:
        return Duplicate(ledger.refusal(db, key, seq))
    if place.last != (seq - 1 if item.after is None else item.after):
        return _GAP
    if isinstance(item, Refuse):
        if not ledger.refuse(db, key, place, seq, item.code):
            return _NEW_STREAM
    else:
        if item.room_version is not None and item.room_version != room_version(db, item.to):
            return _ROOM_CHANGED
        if not ledger.rise(item.recipients):
            return _BUSY
    place.last = seq
    place.moved = True
    if item.time > place.used:
        place.used = item.time
    return _ACCEPTED


def fetch(
    db: sqlite3.Connection, peer: str, after: int, max_messages: int, max_bytes: int
) -> tuple[list[StoredMessage], list[int]]:
    """Read a page; the second list names messages that are damaged."""
    page: list[StoredMessage] = []
    damaged: list[int] = []
    size = 0
    rows = db.execute(
        "SELECT a.n, a.sender, b.addressed, b.stream, b.seq, b.time, a.expiry, a.receipt, b.body, "
        "b.checksum, a.size FROM mail a LEFT JOIN message b ON b.id = a.message "
        "WHERE a.peer = ? AND a.n > ? ORDER BY a.n",
        (peer, after),
    )
    for n, sender, to, stream, seq, time, expiry, receipt, body, checksum, length in rows:
        size += length
        if page and (len(page) >= max_messages or size > max_bytes):
            break
        if type(body) is not bytes or checksum != _checksum(sender, to, stream, seq, time, body):
            damaged.append(n)
        else:
            page.append(
                StoredMessage(n, sender, to, stream, seq, time, expiry, bool(receipt), body)
            )
    rows.close()
    return page, damaged


def _usage(rows: Iterable[tuple[str, int]]) -> dict[str, Usage]:
    """Sum senders and sizes up by sender."""
    found: dict[str, tuple[int, int]] = {}
    for sender, size in rows:
        count, total = found.get(sender, (0, 0))
        found[sender] = count + 1, total + size
    return {sender: Usage(*usage) for sender, usage in found.items()}


def ack(db: sqlite3.Connection, peer: str, upto: int, now: int) -> Acked:
    where = peer, upto
    rows = db.execute(
        "SELECT message, shared, receipt, sender, size FROM mail WHERE peer = ? AND n <= ? "
        "ORDER BY n",
        where,
    ).fetchall()
    receipts = tuple(
        Receipt(sender, *_place(db, message), peer, now)
        for message, _, receipt, sender, _ in rows
        if receipt
    )
    db.execute(
        "DELETE FROM message WHERE id IN "
        "(SELECT message FROM mail WHERE peer = ? AND n <= ? AND shared = 0)",
        where,
    )
    db.execute("DELETE FROM mail WHERE peer = ? AND n <= ?", where)
    _drop_shared(db, (message for message, shared, *_ in rows if shared))
    keep_receipts(db, receipts)
    return Acked(receipts, _usage((sender, size) for *_, sender, size in rows))


def _place(db: sqlite3.Connection, message: int) -> tuple[str, int]:
    """Find a message's stream and seq."""
    row = db.execute("SELECT stream, seq FROM message WHERE id = ?", (message,)).fetchone()
    return ("", 0) if row is None else row


def _drop_shared(db: sqlite3.Connection, messages: Iterable[int]) -> None:
    """Delete those bodies that are in no mailbox any more."""
    db.executemany(
        "DELETE FROM message WHERE id = ?1 AND NOT EXISTS "
        "(SELECT 1 FROM mail WHERE message = ?1 AND shared = 1)",
        [(message,) for message in messages],
    )


def mailbox_state(db: sqlite3.Connection, peer: str) -> MailboxState:
    rows = db.execute(
        "SELECT sender, count(*), sum(size), min(n), max(n) FROM mail WHERE peer = ? "
        "GROUP BY sender",
        (peer,),
    ).fetchall()
    senders = {sender: Usage(count, size) for sender, count, size, _, _ in rows}
    return MailboxState(
        Usage(sum(row[1] for row in rows), sum(row[2] for row in rows)),
        min((row[3] for row in rows), default=0),
        max((row[4] for row in rows), default=0),
        senders,
    )


def mail_total(db: sqlite3.Connection) -> Usage:
    return Usage(*db.execute("SELECT count(*), coalesce(sum(size), 0) FROM mail").fetchone())


def expire(db: sqlite3.Connection, now: int, limit: int) -> list[Expired]:
    rows = db.execute(
        "SELECT peer, n, message, shared, sender, size FROM mail WHERE expiry <= ? "
        "ORDER BY expiry, peer, n LIMIT ?",
        (now, limit),
    ).fetchall()
    expired = [
        Expired(n, size, Receipt(sender, *_place(db, message), peer, now, expired=True))
        for peer, n, message, _, sender, size in rows
    ]
    db.executemany("DELETE FROM mail WHERE peer = ? AND n = ?", [row[:2] for row in rows])
    db.executemany("DELETE FROM message WHERE id = ?", [(row[2],) for row in rows if not row[3]])
    _drop_shared(db, (row[2] for row in rows if row[3]))
    keep_receipts(db, (row.receipt for row in expired))
    return expired
