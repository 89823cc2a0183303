"""Resumption tickets, in SQL; the PSKs are encrypted, so that a stolen disk resumes nothing."""

# ruff: noqa: D102, D103 - securerelay.store.interface documents what each operation does.

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable

from securerelay.crypto import primitives
from securerelay.errors import StorageError
from securerelay.store import sql_directory
from securerelay.store.rows import Redeemed, TicketRow

_TAKE = (
    f"SELECT t.nonce, t.psk, t.auth_time, t.expiry, t.session, {sql_directory.COLUMNS} "  # noqa: S608
    "FROM ticket t JOIN peer p ON p.name = t.name AND p.certificate = t.certificate "
    "JOIN certificate c ON c.sha256 = p.certificate "
    "WHERE t.id = ? AND t.expiry > ? AND p.state = 'active'"
)


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
        row = db.execute(_TAKE, (id_sha256, now)).fetchone()
        if row is None:
            return None
        nonce, wrapped, auth_time, expiry, session_id, *rest = row
        peer = sql_directory.peer_of(rest)
        sound = len(nonce) == primitives.NONCE_SIZE
        psk = primitives.unseal(self._aead, nonce, wrapped, id_sha256) if sound else None
        if psk is None:
            raise StorageError("a ticket does not open under this folder's key")
        verify(psk)
        db.execute("DELETE FROM ticket WHERE id = ?", (id_sha256,))
        certificate = peer.certificate.sha256
        ticket = TicketRow(id_sha256, psk, peer.name, certificate, auth_time, expiry, session_id)
        return Redeemed(ticket, peer)


def kill(db: sqlite3.Connection, session_id: bytes | None, name: str | None) -> int:
    done = db.execute("DELETE FROM ticket WHERE session = ? OR name = ?", (session_id, name))
    return done.rowcount


def forget_tickets(db: sqlite3.Connection, now: int) -> None:
    """Delete what has expired."""
    db.execute("DELETE FROM ticket WHERE expiry <= ?", (now,))
