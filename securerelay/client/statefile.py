"""The database file of a profile: made whole or not at all, checked before use, never replaced.

Several processes use it at once.  SQLite's log (WAL) lets readers and one writer go on together;
whoever has to wait for the writer waits in its own thread, see :mod:`securerelay.client.lane`.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import sqlite3
from urllib.parse import quote

from securerelay import files
from securerelay.errors import StorageError

APPLICATION_ID = 0x53_52_31_02
"""Marks the file as ours, in SQLite's header field for that: "SR1" and 02."""
PATIENCE = 60.0
"""Seconds that one process waits while others write."""
CHECKED = 4 << 20
"""Up to this size (bytes) all of the file is checked before it is used."""
LARGEST = 4 << 30
"""Bytes that the file may grow to; what does not fit is refused."""

Migration = tuple[str, ...]

# A migration, once released, is never edited; a change is another one at the end.
MIGRATIONS: tuple[Migration, ...] = (
    (
        "CREATE TABLE fact (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
        # Sending streams.  ``last`` is the highest seq journaled, ``answered`` the one up to which
        # every verdict is known, ``written`` the one up to which the relay may have seen messages,
        # ``asked`` when receipts were last asked for.
        """CREATE TABLE stream (
            id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, owner TEXT NOT NULL,
            created INTEGER NOT NULL, last INTEGER NOT NULL DEFAULT 0,
            answered INTEGER NOT NULL DEFAULT 0, written INTEGER NOT NULL DEFAULT 0,
            asked INTEGER NOT NULL DEFAULT 0, digest BLOB)""",
        "CREATE INDEX stream_open ON stream (id) WHERE answered < last",
        # ``id`` is the stream's id and the seq.  The body goes once there is a verdict.
        """CREATE TABLE message (
            id INTEGER PRIMARY KEY, recipient TEXT NOT NULL, ttl INTEGER, receipt INTEGER NOT NULL,
            size INTEGER NOT NULL, queued INTEGER NOT NULL, state INTEGER NOT NULL DEFAULT 0,
            settled INTEGER, delivered INTEGER, code TEXT, body BLOB)""",
        "CREATE INDEX message_receipt ON message (id) WHERE receipt = 1 AND state = 1",
        # What was dealt with of others' streams: everything up to ``highest`` but for the gaps.
        """CREATE TABLE dealt (
            sender TEXT, stream TEXT, highest INTEGER NOT NULL, gaps TEXT NOT NULL,
            used INTEGER NOT NULL, PRIMARY KEY (sender, stream)) WITHOUT ROWID""",
        "CREATE INDEX dealt_used ON dealt (used)",
    ),
    (
        # Who of a room does not get a message, and why.
        """CREATE TABLE missed (
            message INTEGER, peer TEXT, code TEXT NOT NULL,
            PRIMARY KEY (message, peer)) WITHOUT ROWID""",
    ),
    (
        # A held stream is never opened at the relay: its messages wait for a recipient's keys, and
        # go on in another stream once those are there.
        "ALTER TABLE stream ADD COLUMN held INTEGER NOT NULL DEFAULT 0",
        # ``form`` tells what ``body`` is: 0 what the relay will carry, 1 a wrapped letter, which is
        # sealed when it is written, 2 one that is not for people. ``place`` is its index, ``bound``
        # whom it is sealed for (a fingerprint, or a room's id), ``replaces`` the place (stream,
        # seq, index) of the message that it stands for.
        "ALTER TABLE message ADD COLUMN form INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE message ADD COLUMN place INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE message ADD COLUMN bound BLOB",
        "ALTER TABLE message ADD COLUMN replaces BLOB",
        # Contacts: the pin, and the last bundle that was found good, fetched when.
        """CREATE TABLE contact (
            name TEXT PRIMARY KEY, spki BLOB NOT NULL, message_key BLOB NOT NULL,
            level TEXT NOT NULL, number INTEGER NOT NULL, former TEXT NOT NULL, blocked TEXT,
            bundle BLOB, fetched INTEGER NOT NULL, since INTEGER NOT NULL) WITHOUT ROWID""",
        # Our own prekeys, by the number of the bundle that told them.
        """CREATE TABLE prekey (
            id BLOB PRIMARY KEY, number INTEGER NOT NULL, made INTEGER NOT NULL,
            superseded INTEGER, private BLOB NOT NULL) WITHOUT ROWID""",
        # What came of others' indices, for each of their streams to us or to a room.
        """CREATE TABLE account (
            fp TEXT, stream TEXT, recipient TEXT, highest INTEGER NOT NULL, missing TEXT NOT NULL,
            forgotten INTEGER NOT NULL, used INTEGER NOT NULL,
            PRIMARY KEY (fp, stream, recipient)) WITHOUT ROWID""",
        "CREATE INDEX account_used ON account (used)",
        # Messages that did not open; ``key`` is the prekey or room key they name. Those that never
        # will have no body.
        """CREATE TABLE unopened (
            id INTEGER PRIMARY KEY AUTOINCREMENT, n INTEGER NOT NULL, sender TEXT NOT NULL,
            recipient TEXT NOT NULL, stream TEXT NOT NULL, seq INTEGER NOT NULL,
            time INTEGER NOT NULL, key BLOB NOT NULL, why TEXT NOT NULL, came INTEGER NOT NULL,
            asked TEXT NOT NULL DEFAULT '', body BLOB, UNIQUE (sender, stream, seq, key))""",
        # What the user was shown of all this.
        """CREATE TABLE notice (
            id INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL, verdict TEXT NOT NULL,
            peer TEXT NOT NULL, words TEXT NOT NULL)""",
        # The key log as far as we have read it.
        """CREATE TABLE log (
            one INTEGER PRIMARY KEY CHECK (one = 1), size INTEGER NOT NULL, root BLOB NOT NULL,
            leaves INTEGER NOT NULL, peaks BLOB NOT NULL)""",
    ),
    (
        # Rooms whose members are listed: the pin.
        """CREATE TABLE room (
            name TEXT PRIMARY KEY, room_id BLOB NOT NULL, owner BLOB NOT NULL,
            version INTEGER NOT NULL, list BLOB NOT NULL) WITHOUT ROWID""",
        # Lists by their hash; ``followed`` is when another one came.
        """CREATE TABLE room_list (
            hash BLOB PRIMARY KEY, room TEXT NOT NULL, version INTEGER NOT NULL, raw BLOB NOT NULL,
            followed INTEGER) WITHOUT ROWID""",
        "CREATE INDEX room_list_version ON room_list (room, version)",
        # Room keys, ours and others'. ``made`` is when it was made or came, ``followed`` when its
        # sender's next one did, ``sealed`` how many messages we sealed under it.
        """CREATE TABLE room_key (
            id BLOB PRIMARY KEY, room TEXT NOT NULL, sender BLOB NOT NULL, list BLOB NOT NULL,
            own INTEGER NOT NULL, made INTEGER NOT NULL, followed INTEGER,
            sealed INTEGER NOT NULL DEFAULT 0, secret BLOB NOT NULL) WITHOUT ROWID""",
        "CREATE INDEX room_key_sender ON room_key (room, sender)",
    ),
    (
        # The last of our messages that the relay accepted, for each stream and recipient: what the
        # first message of another stream tells of it. ``bound`` is whom it was sealed for.
        """CREATE TABLE head (
            recipient TEXT, bound BLOB, stream TEXT, last INTEGER NOT NULL, used INTEGER NOT NULL,
            PRIMARY KEY (recipient, bound, stream)) WITHOUT ROWID""",
        # Whether a missing message was taken for this one.
        "ALTER TABLE unopened ADD COLUMN counted INTEGER NOT NULL DEFAULT 0",
        # When the recipient said that a message was read.
        "ALTER TABLE message ADD COLUMN read INTEGER",
        "CREATE INDEX message_unread ON message (recipient) WHERE receipt = 1 AND read IS NULL",
    ),
    (
        # Contacts whose name has ended, as the key log says; ``spki`` is the hash of the last key.
        """CREATE TABLE ended (
            name TEXT PRIMARY KEY, code TEXT NOT NULL, spki BLOB NOT NULL) WITHOUT ROWID""",
    ),
)


def open_file(path: pathlib.Path) -> sqlite3.Connection:
    """Open the database of a profile, after making or checking it.

    Args:
        path: of the file, in a folder that exists.

    Returns:
        A connection in autocommit mode with the newest schema, for one thread at a time.

    Raises:
        StorageError: if it cannot be used; then it is as it was.
    """
    if not path.exists():
        with files.locked(path.with_name(path.name + ".lock")):
            if not path.exists():
                _create(path)
    _check(path)
    try:
        db = _connect(path)
        if _version(db) < len(MIGRATIONS):
            _migrate(db)
    except sqlite3.Error as error:
        raise StorageError(f"cannot open {path}: {error}") from None
    return db


def _connect(path: pathlib.Path, mode: str = "rw") -> sqlite3.Connection:
    uri = f"file:{quote(str(path.absolute()))}?mode={mode}"
    db = sqlite3.connect(
        uri, uri=True, isolation_level=None, check_same_thread=False, timeout=PATIENCE
    )
    db.execute("PRAGMA synchronous = FULL")
    if mode == "rw":
        db.execute("PRAGMA secure_delete = FAST")
        (size,) = db.execute("PRAGMA page_size").fetchone()
        db.execute(f"PRAGMA max_page_count = {LARGEST // int(size)}")
    return db


def _create(path: pathlib.Path) -> None:
    """Make an empty database with mode 0600, whole before it gets its name."""
    log = path.with_name(path.name + "-wal")
    if log.exists():
        raise StorageError(f"{path} is missing, but its log is there: restore a backup")
    new = path.with_name(path.name + ".new")
    try:
        for leftover in (new, new.with_name(new.name + "-wal"), new.with_name(new.name + "-shm")):
            leftover.unlink(missing_ok=True)
        os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with contextlib.closing(_connect(new)) as db:
            db.execute("PRAGMA journal_mode = WAL")
            _migrate(db)
        descriptor = os.open(new, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        new.rename(path)
        files.sync_folder(path.parent)
    except (OSError, sqlite3.Error) as error:
        raise StorageError(f"cannot make {path}: {error}") from None


def _version(db: sqlite3.Connection) -> int:
    (found,) = db.execute("PRAGMA user_version").fetchone()
    return int(found)


def _migrate(db: sqlite3.Connection) -> None:
    """Bring a database forward in one transaction; another process may have done so meanwhile."""
    db.execute("BEGIN IMMEDIATE")
    try:
        for statements in MIGRATIONS[_version(db) :]:
            for statement in statements:
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def _check(path: pathlib.Path) -> None:
    """Refuse a file that is not a sound database of ours, without changing it."""
    try:
        with path.open("rb") as file:
            state, header = os.fstat(file.fileno()), file.read(100)
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from None
    if state.st_mode & 0o077:
        raise StorageError(
            f"{path} can be used by others than its owner; make it private: chmod 600"
        )
    if header[:16] != b"SQLite format 3\0":
        raise StorageError(f"{path} is not a database of SecureRelay; it is left as it is")
    try:
        with contextlib.closing(_connect(path, "ro")) as db:
            problem = _problem(db, state.st_size)
    except sqlite3.OperationalError as error:  # what is around the file, not what is in it
        problem = f"cannot be used now ({error}): is its disk full, or its folder read-only?"
    except sqlite3.Error as error:
        problem = f"is damaged ({error}); restore a backup, or move it away to begin anew"
    if problem:
        raise StorageError(f"{path} {problem}")


def _problem(db: sqlite3.Connection, size: int) -> str:
    """Look inside; empty if all is well."""
    (application,) = db.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID:
        return "is not a database of SecureRelay; it is left as it is"
    if _version(db) > len(MIGRATIONS):
        return "was written by a newer version of SecureRelay: update this one"
    if size <= CHECKED:
        (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            first = str(found).splitlines()[-1]
            return f"is damaged ({first}); restore a backup, or move it away to begin anew"
    return ""
