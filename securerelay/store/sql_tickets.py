"""Resumption tickets, in SQL; the PSKs are encrypted, so that a stolen disk resumes nothing."""

# ruff: noqa: D102, D103 - securerelay.store.interface documents what each operation does.

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable

from securerelay.crypto import primitives
from securerelay.errors import StorageError
from securerelay.store import sql_directory
from securerelay.store.rows import Redeemed, TicketRow


class Tickets:
    """Wraps and unwraps what the table of tickets holds.

    Args:
        wrap_key: 32 bytes, kept outside the database.
    """

    def __init__(self, wrap_key: bytes) -> None:
        self._aead = primitives.aead("aes256gcm", wrap_key)

    def put(self, db: sqlite3.Connection, tickets: Iterable[TicketRow]) -> None:
        db.executemany(
            "INSERT OR REPLACE INTO ticket VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [self._wrapped(ticket) for ticket in tickets],
        )

    def _wrapped(self, ticket: TicketRow) -> tuple[object, ...]:
        nonce = primitives.random_bytes(primitives.NONCE_SIZE)
        psk = primitives.seal(self._aead, nonce, ticket.psk, ticket.id_sha256)
        return (
            ticket.id_sha256, nonce, psk, ticket.name, ticket.certificate_sha256,
            ticket.auth_time, ticket.expiry, ticket.session_id,
        )  # fmt: skip

    def take(
        self,
        db: sqlite3.Connection,
        id_sha256: bytes,
        now: int,
        verify: Callable[[bytes], None],
    ) -> Redeemed | None:
        row = db.execute(
            "SELECT t.nonce, t.psk, t.name, t.certificate, t.auth_time, t.expiry, t.session "
            "FROM ticket t JOIN peer p ON p.name = t.name AND p.certificate = t.certificate "
            "WHERE t.id = ? AND t.expiry > ? AND p.state = 'active'",
            (id_sha256, now),
        ).fetchone()
        if row is None:
            return None
        nonce, wrapped, name, certificate, auth_time, expiry, session_id = row
        sound = len(nonce) == primitives.NONCE_SIZE
        psk = primitives.unseal(self._aead, nonce, wrapped, id_sha256) if sound else None
        if psk is None:
            raise StorageError("a ticket does not open under this folder's key")
        verify(psk)
        db.execute("DELETE FROM ticket WHERE id = ?", (id_sha256,))
        peer = sql_directory.lookup(db, name)
        if peer is None:
            raise StorageError("a ticket's peer is missing")
        ticket = TicketRow(id_sha256, psk, name, certificate, auth_time, expiry, session_id)
        return Redeemed(ticket, peer)


def kill(db: sqlite3.Connection, session_id: bytes | None, name: str | None) -> int:
    done = db.execute("DELETE FROM ticket WHERE session = ? OR name = ?", (session_id, name))
    return done.rowcount


def forget_tickets(db: sqlite3.Connection, now: int) -> None:
    """Delete what has expired."""
    db.execute("DELETE FROM ticket WHERE expiry <= ?", (now,))
