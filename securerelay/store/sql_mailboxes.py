"""Mailboxes, in SQL.

One row of ``message`` holds the bodies of messages that came together, and a row of ``mail`` stands
for them in each mailbox.  Both have the number of the last of them, so a mailbox whose owner
acknowledged the first ones holds the last ``count``.  Most messages have one recipient; only rows
that share bodies are looked up the other way round before these are deleted.
"""

# ruff: noqa: D103 - securerelay.store.interface documents what each operation does.

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

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
_NOTHING = Usage()


class _Mail(NamedTuple):
    """Messages in a mailbox that came together; columns of ``mail``."""

    peer: str
    n: int
    held: int
    message: int
    shared: int
    receipt: int
    sender: str
    size: int


# No checksum covers the count, which changes: it is believed within reason.
_COUNT = "max(1, min(count, 65536))"
_MAIL = f"SELECT peer, n, {_COUNT}, message, shared, receipt, sender, size FROM mail"  # noqa: S608
_PAGE = f"""SELECT n, sender, addressed, stream, seq, time, checksum, expiry, receipt, {_COUNT},
    size, sizes, body FROM mail LEFT JOIN message ON id = message
    WHERE peer = ? AND n > ? ORDER BY n"""  # noqa: S608
_STATE = f"""SELECT sender, sum({_COUNT}), sum(size), min(n - {_COUNT} + 1), max(n) FROM mail
    WHERE peer = ? GROUP BY sender"""  # noqa: S608
_TOTAL = f"SELECT coalesce(sum({_COUNT}), 0), coalesce(sum(size), 0) FROM mail"  # noqa: S608


def _checksum(
    sender: str, to: str, stream: str, seq: int, time: int, sizes: bytes, bodies: bytes
) -> int:
    head = f"{sender} {to} {stream} {seq} {time}".encode()
    return zlib.crc32(bodies, zlib.crc32(sizes, zlib.crc32(head)))


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
        sender, stream, _, to, recipients, time, expiry, receipt, bodies, _, _ = item
        last, count = place.last, len(bodies)
        message = ledger.next_message(db)
        body = bodies[0] if count == 1 else b"".join(bodies)
        sizes = None if count == 1 else struct.pack(f">{count}I", *map(len, bodies))
        checksum = _checksum(sender, to, stream, last, time, sizes or b"", body)
        messages += (message, to, stream, last, time, checksum, body, sizes)
        shared, wanted = int(len(recipients) > 1), int(receipt)
        for peer, n in recipients:
            mail += (peer, n, message, shared, wanted, sender, len(body), expiry, count)
    insert(db, "message", 8, messages)
    insert(db, "mail", 9, mail)
    move(db, places)
    return verdicts


def _judge(
    db: sqlite3.Connection, ledger: Ledger, item: Append | Refuse, key: Key, place: Position
) -> Verdict:
    """Decide on an item, and move its stream on if it is accepted."""
    seq = item.seq
    last = seq + (len(item.bodies) - 1 if isinstance(item, Append) else 0)
    if last <= place.last:
        return Duplicate(ledger.refusal(db, key, seq))
    if place.last != (seq - 1 if item.after is None else item.after):
        return _GAP
    if isinstance(item, Refuse):
        if not ledger.refuse(db, key, place, seq, item.code):
            return _NEW_STREAM
    else:
        if item.room_version is not None and item.room_version != room_version(db, item.to):
            return _ROOM_CHANGED
        if not ledger.rise(item.recipients, len(item.bodies)):
            return _BUSY
    place.last = last
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
    rows = db.execute(_PAGE, (peer, after))
    with contextlib.closing(rows):
        for row in rows:
            n, sender, to, stream, seq, time, crc, expiry, receipt, held, length, sizes, body = row
            sizes, body = _bytes(sizes), _bytes(body)
            whole = crc == _checksum(sender, to, stream, seq, time, sizes, body)
            bodies = _bodies(sizes, body, held, length) if whole else []
            if not bodies:
                lost = max(1, len(_unpack(sizes))) if whole else held
                damaged += range(max(n - lost, after) + 1, n + 1)
                continue
            # Those up to ``after`` are not asked for.
            wanted = min(held, n - after)
            for back, one in enumerate(bodies[-wanted:], 1 - wanted):
                size += len(one)
                if page and (len(page) >= max_messages or size > max_bytes):
                    return page, damaged
                page.append(
                    StoredMessage(
                        n + back,
                        sender,
                        to,
                        stream,
                        seq + back,
                        time,
                        expiry,
                        bool(receipt),
                        one,
                    )
                )
    return page, damaged


def _bytes(column: object) -> bytes:
    """Return what is there, if it is what belongs there."""
    return column if type(column) is bytes else b""


def _bodies(sizes: bytes, body: bytes, held: int, length: int) -> list[bytes]:
    """Take the last so many of those that were put together; none if that is not their length."""
    if not sizes:
        return [body] if held == 1 else []
    ends = list(itertools.accumulate(_unpack(sizes), initial=0))
    if held >= len(ends) or ends[-1] - ends[-held - 1] != length:
        return []
    return [body[start:end] for start, end in itertools.pairwise(ends[-held - 1 :])]


def _unpack(sizes: object) -> tuple[int, ...]:
    """Read the sizes of messages that came together."""
    packed = _bytes(sizes)
    return struct.unpack(f">{len(packed) // 4}I", packed[: len(packed) // 4 * 4])


def _sizes(db: sqlite3.Connection, mail: _Mail) -> list[int]:
    """Tell the size of each message that a mailbox has of those that came together."""
    if mail.held == 1:
        return [mail.size]
    row = db.execute("SELECT sizes FROM message WHERE id = ?", (mail.message,)).fetchone()
    sizes = _unpack(row and row[0])[-mail.held :]
    if len(sizes) < mail.held or sum(sizes) != mail.size:
        return [0] * (mail.held - 1) + [mail.size]  # it is damaged
    return list(sizes)


def _shorten(db: sqlite3.Connection, mail: _Mail, done: int) -> int:
    """Take the first so many messages out of a mailbox; returns their size."""
    freed = sum(_sizes(db, mail)[:done])
    db.execute(
        "UPDATE mail SET count = ?, size = size - ? WHERE peer = ? AND n = ?",
        (mail.held - done, freed, mail.peer, mail.n),
    )
    return freed


def _usage(freed: Iterable[tuple[_Mail, int, int]]) -> dict[str, Usage]:
    """Sum counts and sizes up by sender."""
    found: dict[str, Usage] = {}
    for mail, count, size in freed:
        before = found.get(mail.sender, _NOTHING)
        found[mail.sender] = Usage(before.count + count, before.size + size)
    return found


def ack(db: sqlite3.Connection, peer: str, upto: int, now: int) -> Acked:
    freed: list[tuple[_Mail, int, int]] = []
    rows = db.execute(f"{_MAIL} WHERE peer = ? ORDER BY n", (peer,))
    with contextlib.closing(rows):
        for row in rows:
            mail = _Mail(*row)
            done = min(mail.held, upto - mail.n + mail.held)
            if done <= 0:
                break
            freed.append((mail, done, mail.size))
            if done < mail.held:
                break
    if freed and freed[-1][0].n > upto:
        mail, done, _ = freed[-1]
        freed[-1] = mail, done, _shorten(db, mail, done)
    receipts = tuple(
        Receipt(mail.sender, stream, last - mail.held + place, peer, now)
        for mail, done, _ in freed
        if mail.receipt
        for stream, last in (_place(db, mail.message),)
        for place in range(1, done + 1)
    )
    where = peer, upto
    db.execute(
        "DELETE FROM message WHERE id IN "
        "(SELECT message FROM mail WHERE peer = ? AND n <= ? AND shared = 0)",
        where,
    )
    db.execute("DELETE FROM mail WHERE peer = ? AND n <= ?", where)
    _drop_shared(db, (mail.message for mail, *_ in freed if mail.shared))
    keep_receipts(db, receipts)
    return Acked(receipts, _usage(freed))


def _place(db: sqlite3.Connection, message: int) -> tuple[str, int]:
    """Find the stream of messages that came together, and the last one's seq."""
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
    rows = db.execute(_STATE, (peer,)).fetchall()
    senders = {sender: Usage(count, size) for sender, count, size, _, _ in rows}
    return MailboxState(
        Usage(sum(row[1] for row in rows), sum(row[2] for row in rows)),
        min((row[3] for row in rows), default=0),
        max((row[4] for row in rows), default=0),
        senders,
    )


def mail_total(db: sqlite3.Connection) -> Usage:
    return Usage(*db.execute(_TOTAL).fetchone())


def expire(db: sqlite3.Connection, now: int, limit: int) -> list[Expired]:
    where = "WHERE expiry <= ? ORDER BY expiry, peer, n LIMIT ?"
    rows = db.execute(f"{_MAIL} {where}", (now, limit)).fetchall()
    expired: list[Expired] = []
    gone: list[_Mail] = []
    for mail in map(_Mail._make, rows):
        left = limit - len(expired)
        stream, last = _place(db, mail.message)
        for back, size in enumerate(_sizes(db, mail)[:left], 1 - mail.held):
            told = Receipt(mail.sender, stream, last + back, mail.peer, now, expired=True)
            expired.append(Expired(mail.n + back, size, told))
        if left < mail.held:
            _shorten(db, mail, left)
            break
        gone.append(mail)
    db.executemany("DELETE FROM mail WHERE peer = ? AND n = ?", [mail[:2] for mail in gone])
    alone = [(mail.message,) for mail in gone if not mail.shared]
    db.executemany("DELETE FROM message WHERE id = ?", alone)
    _drop_shared(db, (mail.message for mail in gone if mail.shared))
    keep_receipts(db, (row.receipt for row in expired))
    return expired
