"""Backups of the database, what it takes to use one, and a thorough check."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

from securerelay.errors import StorageError
from securerelay.files import FolderLock
from securerelay.store import database
from securerelay.store.engine import FILE
from securerelay.store.schema import migrate
from securerelay.store.sql_mailboxes import fetch

_EPOCH_BASE = 1_767_225_600
_EPOCH_SECONDS = 10
"""Epochs of restored stores count steps of ten seconds since 2026-01-01: more than any relay was
opened, and few enough to leave room in a number for the messages of a run.
"""


_COPIED = "copied"
"""What a backup says of itself: when it was made, Unix milliseconds."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back from a backup.

    Attributes:
        epoch: the epoch of the restored store.
        copied: when the backup was made, Unix milliseconds.
        peers: how many peers are enrolled, those that ended included.
    """

    epoch: int
    copied: int
    peers: int


def require(folder: Path) -> None:
    """Refuse a folder that has no database, before anything is made in it.

    Raises:
        StorageError: saying so.
    """
    if not (folder / FILE).is_file():
        raise StorageError(f"there is no {FILE} in {folder}")


def _copy(source: sqlite3.Connection, target: Path) -> None:
    """Copy a database page by page into a new file with mode 0600."""
    os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with contextlib.closing(sqlite3.connect(target)) as db:
        source.backup(db)


def backup(folder: Path, target: Path) -> None:
    """Write a copy of the database as it is now, also while a relay uses it.

    Args:
        folder: the data folder.
        target: a file that does not exist yet; it appears when it is complete.

    Raises:
        StorageError: if it cannot be written, or something has its name.
    """
    require(folder)
    part = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
    if target.exists():
        raise StorageError(f"{target} exists: choose another name")
    try:
        try:
            now = int(time.time() * 1000)
            with contextlib.closing(database.connect(folder / FILE, "mode=ro")) as db:
                _copy(db, part)
            with contextlib.closing(sqlite3.connect(part)) as db, db:
                db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_COPIED, now))
            # Unlike a rename, a link takes nobody's place.
            database.sync(part)
            os.link(part, target)
        finally:
            part.unlink(missing_ok=True)
        database.sync(target.parent)
    except (OSError, sqlite3.Error) as error:
        raise StorageError(f"cannot write {target}: {_reason(error)}") from None


def _reason(error: OSError | sqlite3.Error) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def restore(source: Path, folder: Path) -> Restored:
    """Make a backup the database of a folder that has none.

    Whatever happened between the backup and now is not in it.  So that nothing of it can happen a
    second time, tickets are dropped, open invitations are withdrawn, and the epoch rises above all
    that were in use.  That one follows from the time of day, so a clock that lags is refused.

    Args:
        source: a backup; it is left as it is.
        folder: the data folder; no relay may be running on it.

    Returns:
        What came back.

    Raises:
        StorageError: if the backup is damaged or of a newer version, if the folder has a database,
            or if the clock is wrong.
        FolderLocked: if a relay is running on the folder.
    """
    path = folder / FILE
    new = folder / (FILE + ".restored")
    with FolderLock(folder):
        try:
            if path.exists() or path.with_name(FILE + "-wal").exists():
                raise StorageError(f"{path} exists: move it, and its -wal, out of the way first")
            database.check(source)
            new.unlink(missing_ok=True)
            with database.inspected(source) as db:
                copied = _copied(db, source)
                _copy(db, new)
            with contextlib.closing(database.connect(new)) as db:
                restored = _restored(db, copied)
            database.settle(new, path)
        except (OSError, sqlite3.Error) as error:
            new.unlink(missing_ok=True)
            raise StorageError(f"cannot restore {source}: {_reason(error)}") from None
    return restored


def _copied(db: sqlite3.Connection, source: Path) -> int:
    """Read when a backup was made, and refuse to count from a clock that lags behind it."""
    row = db.execute("SELECT value FROM meta WHERE key = ?", (_COPIED,)).fetchone()
    # One that was copied by hand, from a relay that did not run, says nothing.
    copied = int(source.stat().st_mtime * 1000 if row is None else row[0])
    if copied > time.time() * 1000:
        raise StorageError(f"the clock is wrong: {source} was made later than now; set it first")
    return copied


def _restored(db: sqlite3.Connection, copied: int) -> Restored:
    migrate(db)
    db.execute("DELETE FROM meta WHERE key = ?", (_COPIED,))
    db.execute("DELETE FROM ticket")
    db.execute("UPDATE invitation SET state = 'withdrawn' WHERE state = 'open'")
    (peers,) = db.execute("SELECT count(*) FROM peer").fetchone()
    at_least = (int(time.time()) - _EPOCH_BASE) // _EPOCH_SECONDS
    return Restored(database.next_epoch(db, at_least), copied, int(peers))


def examine(folder: Path) -> list[str]:
    """Check everything that can be checked, and change nothing.

    Args:
        folder: the data folder; no relay may be running on it.

    Returns:
        What is wrong, a line each; empty if nothing is.

    Raises:
        StorageError: if there is no database of ours, or it is damaged from its first page on.
        FolderLocked: if a relay is running on the folder.
    """
    require(folder)
    with FolderLock(folder):
        database.check(folder / FILE)
        try:
            with database.inspected(folder / FILE) as db:
                return _examine(db)
        except sqlite3.Error as error:
            return [f"the database does not read to its end: {error}"]


def _examine(db: sqlite3.Connection) -> list[str]:
    found = [str(row[0]) for row in db.execute("PRAGMA integrity_check") if row[0] != "ok"]
    for table, row, *_ in db.execute("PRAGMA foreign_key_check"):
        found.append(f"row {row} of {table} refers to nothing")
    for (peer,) in db.execute("SELECT DISTINCT peer FROM mail ORDER BY peer").fetchall():
        after = 0
        while True:
            page, damaged = fetch(db, peer, after, 1000, 16 << 20)
            found += [f"message {n} in the mailbox of {peer} is damaged" for n in damaged]
            numbers = [message.n for message in page] + damaged
            if not numbers:
                break
            after = max(numbers)
    orphans = "SELECT count(*) FROM message WHERE id NOT IN (SELECT message FROM mail)"
    (count,) = db.execute(orphans).fetchone()
    if count:
        found.append(f"{count} messages are in no mailbox")
    return found
