"""Invitations, in SQL."""

# ruff: noqa: D103 - securerelay.store.interface documents what each operation does.

from __future__ import annotations

import sqlite3
from typing import Any

from securerelay.errors import Refused
from securerelay.store import sql_directory
from securerelay.store.interface import KEPT
from securerelay.store.rows import CertificateRow, Consumed, InvitationRow

_INVITATION = (
    "SELECT token, public_key, name, roles, expiry, created, created_by, state, used, certificate, "
    "disputed FROM invitation "
)


def _invitation(row: tuple[Any, ...]) -> InvitationRow:
    token, public_key, name, roles, *rest = row
    return InvitationRow(token, public_key, name, tuple(roles.split()), *rest)


def invite(db: sqlite3.Connection, row: InvitationRow) -> None:
    sql_directory.check_free(db, row.name)
    if invitation(db, row.token) is not None:
        raise Refused("token-used")
    roles = " ".join(row.roles)
    db.execute(
        "INSERT INTO invitation VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (row.token, row.public_key, row.name, roles, row.expiry, row.created, row.created_by,
         row.state, row.used, row.certificate_sha256, row.disputed),
    )  # fmt: skip


def invitation(db: sqlite3.Connection, token: bytes) -> InvitationRow | None:
    row = db.execute(_INVITATION + "WHERE token = ?", (token,)).fetchone()
    return None if row is None else _invitation(row)


def invitations(db: sqlite3.Connection) -> list[InvitationRow]:
    return [_invitation(row) for row in db.execute(_INVITATION + "ORDER BY created, token")]


def withdraw(db: sqlite3.Connection, token: bytes) -> bool:
    done = db.execute(
        "UPDATE invitation SET state = 'withdrawn' WHERE token = ? AND state = 'open'", (token,)
    )
    return done.rowcount == 1


def dispute(db: sqlite3.Connection, token: bytes, now: int | None) -> bool:
    wanted = "disputed IS NOT NULL" if now is None else "disputed IS NULL"
    query = f"UPDATE invitation SET disputed = ? WHERE token = ? AND {wanted}"  # noqa: S608 - constants
    return db.execute(query, (now, token)).rowcount == 1


def consume(
    db: sqlite3.Connection, token: bytes, certificate: CertificateRow, now: int
) -> Consumed:
    row = invitation(db, token)
    if row is None:
        raise Refused("unknown")
    if row.certificate_sha256 is not None:
        first = sql_directory.certificate(db, row.certificate_sha256)
        return _repeat(db, row, first, certificate)
    if row.state != "open" or row.expiry <= now:
        raise Refused("expired", row.name)
    if certificate.name != row.name:
        raise ValueError("the certificate names another peer than the invitation")
    sql_directory.check_free(db, row.name)
    peer = sql_directory.add_peer(db, certificate, row.roles, now)
    db.execute(
        "UPDATE invitation SET state = 'used', used = ?, certificate = ? WHERE token = ?",
        (now, certificate.sha256, token),
    )
    return Consumed(peer, certificate, repeated=False)


def _repeat(
    db: sqlite3.Connection, row: InvitationRow, first: CertificateRow, second: CertificateRow
) -> Consumed:
    """Answer a newcomer who did not hear the first answer, or somebody else with its token."""
    if first.spki != second.spki:
        raise Refused("token-used", row.name)
    peer = sql_directory.lookup(db, row.name)
    if peer is None or peer.state != "active":
        raise Refused("revoked", row.name)
    return Consumed(peer, first, repeated=True)


def forget_invitations(db: sqlite3.Connection, now: int) -> None:
    """Delete what is too old to be asked for again."""
    db.execute("DELETE FROM invitation WHERE coalesce(used, expiry) + ? <= ?", (KEPT, now))
