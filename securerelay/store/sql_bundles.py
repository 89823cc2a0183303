"""Bundles, in SQL."""

# ruff: noqa: D103 - securerelay.store.interface documents what each operation does.

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from securerelay.errors import Refused
from securerelay.store import sql_directory
from securerelay.store.rows import LogRow, Published

_PUBLISHED = (
    "SELECT p.state, b.number, b.bundle, "
    "l.id, l.kind, l.time, l.name, l.spki_sha256, l.certificate_sha256 FROM peer p "
    "LEFT JOIN bundle b ON b.name = p.name "
    "LEFT JOIN key_log l ON l.certificate_sha256 = b.certificate "
    "AND l.kind IN ('issued', 'renewed') WHERE p.name = ?"
)


def publish(
    db: sqlite3.Connection, name: str, number: int, bundle: bytes, certificate_sha256: bytes
) -> None:
    peer = sql_directory.lookup(db, name)
    if peer is None:
        raise Refused("unknown", name)
    if peer.state != "active":
        raise Refused("revoked", name)
    if peer.certificate.sha256 != certificate_sha256:
        raise Refused("old-certificate", name)
    row = db.execute("SELECT number FROM bundle WHERE name = ?", (name,)).fetchone()
    if row is not None and number <= row[0]:
        raise Refused("stale", name)
    db.execute(
        "INSERT OR REPLACE INTO bundle VALUES (?, ?, ?, ?)",
        (name, number, certificate_sha256, bundle),
    )


def published(db: sqlite3.Connection, names: Sequence[str]) -> dict[str, Published]:
    found = {}
    for name in names:
        row = db.execute(_PUBLISHED, (name,)).fetchone()
        if row is not None:
            state, number, bundle, *leaf = row
            found[name] = (
                Published(name, state)
                if number is None
                else Published(name, state, number, bundle, LogRow(*leaf))
            )
    return found
