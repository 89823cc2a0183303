"""Names, certificates, revocations and the key log, in SQL."""

# ruff: noqa: D103 - securerelay.store.interface documents what each operation does.

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from securerelay.crypto.primitives import sha256
from securerelay.errors import Refused
from securerelay.names import skeleton
from securerelay.store import successors
from securerelay.store.rows import CertificateRow, LogKind, LogRow, PeerRow, Revocation
from securerelay.store.sql_rooms import leave_rooms

_CERTIFICATE = "c.name, c.der, c.sha256, c.spki, c.serial, c.not_after, c.issued"
COLUMNS = f"p.name, p.state, p.roles, p.created, p.ended, p.revision, {_CERTIFICATE}"
"""What :func:`peer_of` reads, where ``p`` is a peer and ``c`` its certificate."""
_PEER = f"SELECT {COLUMNS} FROM peer p JOIN certificate c ON c.sha256 = p.certificate "  # noqa: S608


def _certificate(row: tuple[Any, ...]) -> CertificateRow:
    name, der, digest, spki, serial, not_after, issued = row
    number = int.from_bytes(serial, "big")
    return CertificateRow(name, der, digest, spki, number, not_after, issued)


def peer_of(row: Sequence[Any]) -> PeerRow:
    name, state, roles, created, ended, revision, *rest = row
    certificate = _certificate(tuple(rest))
    return PeerRow(name, state, certificate, tuple(roles.split()), created, ended, revision)


def lookup(db: sqlite3.Connection, name: str) -> PeerRow | None:
    row = db.execute(_PEER + "WHERE p.name = ?", (name,)).fetchone()
    return None if row is None else peer_of(row)


def peers(db: sqlite3.Connection) -> list[PeerRow]:
    return [peer_of(row) for row in db.execute(_PEER + "ORDER BY p.name")]


def _certificates(
    db: sqlite3.Connection, rest: str, values: Iterable[Any] = ()
) -> list[CertificateRow]:
    query = f"SELECT {_CERTIFICATE} FROM certificate c {rest}"  # noqa: S608 - constants
    return [_certificate(row) for row in db.execute(query, tuple(values))]


def issued(db: sqlite3.Connection, name: str | None) -> list[CertificateRow]:
    if name is None:
        return _certificates(db, "ORDER BY c.id")
    return _certificates(db, "WHERE c.name = ? ORDER BY c.id", (name,))


def certificate(db: sqlite3.Connection, digest: bytes) -> CertificateRow:
    (row,) = _certificates(db, "WHERE c.sha256 = ?", (digest,))
    return row


def expiring(db: sqlite3.Connection, before: int) -> list[CertificateRow]:
    return _certificates(
        db,
        "JOIN peer p ON p.certificate = c.sha256 WHERE p.state = 'active' AND c.not_after < ? "
        "ORDER BY c.not_after, c.name",
        (before,),
    )


def check_free(db: sqlite3.Connection, name: str) -> None:
    """Refuse a name that somebody has or had, or that looks like one."""
    row = db.execute("SELECT name FROM peer WHERE skeleton = ?", (skeleton(name),)).fetchone()
    if row is not None:
        raise Refused("name-taken", row[0])


def add_certificate(db: sqlite3.Connection, row: CertificateRow) -> None:
    serial = row.serial.to_bytes((row.serial.bit_length() + 7) // 8, "big")
    db.execute(
        "INSERT INTO certificate (name, der, sha256, spki, serial, not_after, issued) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (row.name, row.der, row.sha256, row.spki, serial, row.not_after, row.issued),
    )


def add_peer(
    db: sqlite3.Connection, row: CertificateRow, roles: tuple[str, ...], now: int
) -> PeerRow:
    """Enter a newcomer, its certificate and the leaf of the key log."""
    add_certificate(db, row)
    db.execute(
        "INSERT INTO peer VALUES (?, ?, 'active', ?, ?, ?, NULL, 0)",
        (row.name, skeleton(row.name), row.sha256, " ".join(roles), now),
    )
    add_leaf(db, "issued", now, row)
    return PeerRow(row.name, "active", row, roles, now)


def add_leaf(db: sqlite3.Connection, kind: LogKind, now: int, row: CertificateRow) -> None:
    # Ids begin at 0 and nothing is ever deleted, so there are no gaps.
    db.execute(
        "INSERT INTO key_log SELECT coalesce(max(id) + 1, 0), ?, ?, ?, ?, ? FROM key_log",
        (kind, now, row.name, sha256(row.spki), row.sha256),
    )


def _existing(db: sqlite3.Connection, name: str) -> PeerRow:
    peer = lookup(db, name)
    if peer is None:
        raise Refused("unknown", name)
    return peer


def renew(db: sqlite3.Connection, row: CertificateRow) -> PeerRow:
    peer = _existing(db, row.name)
    if peer.state != "active" or peer.certificate.spki != row.spki:
        raise Refused("revoked", row.name)
    add_certificate(db, row)
    db.execute("UPDATE peer SET certificate = ? WHERE name = ?", (row.sha256, row.name))
    db.execute("DELETE FROM ticket WHERE name = ?", (row.name,))
    add_leaf(db, "renewed", row.issued, row)
    return PeerRow(peer.name, peer.state, row, peer.roles, peer.created)


def issue(db: sqlite3.Connection, row: CertificateRow) -> CertificateRow:
    peer = _existing(db, row.name)
    before = successors.issued_before(peer, issued(db, row.name), row.spki, row.issued)
    if before is not None:
        return before
    add_certificate(db, row)
    add_leaf(db, "issued", row.issued, row)
    return row


def succeed(db: sqlite3.Connection, name: str, digest: bytes) -> PeerRow:
    peer = _existing(db, name)
    row = successors.follows(peer, issued(db, name), digest)
    db.execute(
        "UPDATE certificate SET id = (SELECT max(id) + 1 FROM certificate) WHERE sha256 = ?",
        (row.sha256,),
    )
    db.execute("UPDATE peer SET certificate = ? WHERE name = ?", (row.sha256, name))
    db.execute("DELETE FROM ticket WHERE name = ?", (name,))
    return PeerRow(peer.name, peer.state, row, peer.roles, peer.created)


def revoke(db: sqlite3.Connection, name: str, now: int, closed: bool) -> int:
    peer = _existing(db, name)
    if peer.state != "active":
        return peer.revision
    (revision,) = db.execute("SELECT max(revision) + 1 FROM peer").fetchone()
    kind: LogKind = "closed" if closed else "revoked"
    db.execute(
        "UPDATE peer SET state = ?, ended = ?, revision = ? WHERE name = ?",
        (kind, now, revision, name),
    )
    add_leaf(db, kind, now, peer.certificate)
    db.execute("DELETE FROM ticket WHERE name = ?", (name,))
    db.execute(
        "UPDATE invitation SET state = 'withdrawn' WHERE name = ? AND state = 'open'", (name,)
    )
    leave_rooms(db, name)
    return int(revision)


def revocations(db: sqlite3.Connection, after: int) -> list[Revocation]:
    rows = db.execute(
        "SELECT revision, name, ended FROM peer WHERE revision > max(?, 0) ORDER BY revision",
        (after,),
    )
    return [Revocation(*row) for row in rows]


def key_log(db: sqlite3.Connection, start: int, limit: int) -> list[LogRow]:
    rows = db.execute(
        "SELECT id, kind, time, name, spki_sha256, certificate_sha256 FROM key_log "
        "WHERE id >= ? ORDER BY id LIMIT ?",
        (start, limit),
    )
    return [LogRow(*row) for row in rows]


def key_log_size(db: sqlite3.Connection) -> int:
    (size,) = db.execute("SELECT coalesce(max(id) + 1, 0) FROM key_log").fetchone()
    return int(size)
