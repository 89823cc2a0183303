"""The tables, as the list of migrations that makes them.

A migration, once released, is never edited; a change is another one at the end.  ``PRAGMA
user_version`` counts those that have run.
"""

from __future__ import annotations

import sqlite3

APPLICATION_ID = 0x53_52_31_01
"""Marks the file as ours, in SQLite's header field for that: "SR1" and 01."""

Migration = tuple[str, ...]

MIGRATIONS: tuple[Migration, ...] = (
    (
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
        "INSERT INTO meta VALUES ('epoch', 0)",
        # Who is who.
        """CREATE TABLE certificate (
            id INTEGER PRIMARY KEY, name TEXT NOT NULL, der BLOB NOT NULL,
            sha256 BLOB NOT NULL UNIQUE, spki BLOB NOT NULL, serial BLOB NOT NULL,
            not_after INTEGER NOT NULL, issued INTEGER NOT NULL)""",
        "CREATE INDEX certificate_name ON certificate (name)",
        """CREATE TABLE peer (
            name TEXT PRIMARY KEY, skeleton TEXT NOT NULL UNIQUE, state TEXT NOT NULL,
            certificate BLOB NOT NULL REFERENCES certificate (sha256), roles TEXT NOT NULL,
            created INTEGER NOT NULL, ended INTEGER, revision INTEGER NOT NULL)""",
        "CREATE UNIQUE INDEX peer_revision ON peer (revision) WHERE revision > 0",
        """CREATE TABLE key_log (
            id INTEGER PRIMARY KEY, kind TEXT NOT NULL, time INTEGER NOT NULL,
            name TEXT NOT NULL, spki_sha256 BLOB NOT NULL, certificate_sha256 BLOB NOT NULL)""",
        """CREATE TABLE invitation (
            token BLOB PRIMARY KEY, public_key BLOB NOT NULL, name TEXT NOT NULL,
            roles TEXT NOT NULL, expiry INTEGER NOT NULL, created INTEGER NOT NULL,
            created_by TEXT NOT NULL, state TEXT NOT NULL, used INTEGER,
            certificate BLOB REFERENCES certificate (sha256)) WITHOUT ROWID""",
        """CREATE TABLE ticket (
            id BLOB PRIMARY KEY, nonce BLOB NOT NULL, psk BLOB NOT NULL, name TEXT NOT NULL,
            certificate BLOB NOT NULL, auth_time INTEGER NOT NULL, expiry INTEGER NOT NULL,
            session BLOB NOT NULL) WITHOUT ROWID""",
        "CREATE INDEX ticket_name ON ticket (name)",
        "CREATE INDEX ticket_session ON ticket (session)",
        "CREATE INDEX ticket_expiry ON ticket (expiry)",
        # What was sent to whom.
        """CREATE TABLE stream (
            sender TEXT, stream TEXT, last INTEGER NOT NULL, used INTEGER NOT NULL,
            PRIMARY KEY (sender, stream)) WITHOUT ROWID""",
        """CREATE TABLE refusal (
            sender TEXT, stream TEXT, seq INTEGER, code TEXT NOT NULL,
            PRIMARY KEY (sender, stream, seq),
            FOREIGN KEY (sender, stream) REFERENCES stream ON DELETE CASCADE) WITHOUT ROWID""",
        """CREATE TABLE receipt (
            sender TEXT, stream TEXT, seq INTEGER, peer TEXT, time INTEGER NOT NULL,
            expired INTEGER NOT NULL, PRIMARY KEY (sender, stream, seq, peer),
            FOREIGN KEY (sender, stream) REFERENCES stream ON DELETE CASCADE) WITHOUT ROWID""",
        # One message, in as many mailboxes as it has recipients.  The body comes last, so that the
        # other columns can be read without it.
        """CREATE TABLE message (
            id INTEGER PRIMARY KEY, addressed TEXT NOT NULL, stream TEXT NOT NULL,
            seq INTEGER NOT NULL, time INTEGER NOT NULL, checksum INTEGER NOT NULL,
            body BLOB NOT NULL)""",
        """CREATE TABLE mail (
            peer TEXT, n INTEGER, message INTEGER NOT NULL, shared INTEGER NOT NULL,
            receipt INTEGER NOT NULL, sender TEXT NOT NULL, size INTEGER NOT NULL,
            expiry INTEGER NOT NULL, PRIMARY KEY (peer, n)) WITHOUT ROWID""",
        "CREATE INDEX mail_expiry ON mail (expiry)",
        "CREATE INDEX mail_shared ON mail (message) WHERE shared = 1",
        # Rooms.
        """CREATE TABLE room (
            name TEXT PRIMARY KEY, skeleton TEXT NOT NULL UNIQUE, owner TEXT NOT NULL,
            version INTEGER NOT NULL, admission TEXT NOT NULL, post TEXT NOT NULL,
            created INTEGER NOT NULL) WITHOUT ROWID""",
        """CREATE TABLE member (
            room TEXT REFERENCES room ON DELETE CASCADE, peer TEXT,
            PRIMARY KEY (room, peer)) WITHOUT ROWID""",
        "CREATE INDEX member_peer ON member (peer)",
    ),
    (
        # What peers seal with, for ever; the leaf of a certificate is found by its hash.
        """CREATE TABLE bundle (
            name TEXT PRIMARY KEY REFERENCES peer (name), number INTEGER NOT NULL,
            certificate BLOB NOT NULL REFERENCES certificate (sha256), bundle BLOB NOT NULL)""",
        "CREATE INDEX key_log_certificate ON key_log (certificate_sha256)",
        # Signed lists of rooms' members, the newest and those that it followed.
        "ALTER TABLE room ADD COLUMN listed INTEGER NOT NULL DEFAULT 0",
        """CREATE TABLE room_list (
            room TEXT REFERENCES room ON DELETE CASCADE, version INTEGER, followed INTEGER,
            list BLOB NOT NULL, PRIMARY KEY (room, version))""",
        "CREATE INDEX room_list_followed ON room_list (followed)",
    ),
    # Whether the operator should know that two keys came with one invitation.
    ("ALTER TABLE invitation ADD COLUMN disputed INTEGER",),
    # Messages that came together share a row.  Their sizes are 4 bytes each, NULL for one alone; n
    # and seq are the last one's, and a mailbox holds the last ``count`` of them.
    (
        "ALTER TABLE message ADD COLUMN sizes BLOB",
        "ALTER TABLE mail ADD COLUMN count INTEGER NOT NULL DEFAULT 1",
    ),
)


def version(db: sqlite3.Connection) -> int:
    """Count the migrations that a database has been through."""
    (found,) = db.execute("PRAGMA user_version").fetchone()
    return int(found)


def migrate(db: sqlite3.Connection, migrations: tuple[Migration, ...] = MIGRATIONS) -> None:
    """Bring a database forward, each migration in a transaction of its own.

    Args:
        db: in autocommit mode.
        migrations: all there are.
    """
    for number in range(version(db), len(migrations)):
        db.execute("BEGIN IMMEDIATE")
        try:
            for statement in migrations[number]:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {number + 1}")
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise
