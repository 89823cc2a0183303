"""The database file: made whole or not at all, checked before use, never replaced."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from securerelay.errors import StorageError
from securerelay.store.schema import APPLICATION_ID, MIGRATIONS, migrate, version

_HEADER = 100
_LARGE = 32 << 20
"""From this size on (bytes) opening leaves out the check of the messages, whose rows have
checksums.
"""


def connect(path: Path, mode: str = "mode=rw") -> sqlite3.Connection:
    """Open a connection that any one thread at a time may use.

    Args:
        path: of an existing database.
        mode: how, as SQLite's URIs say it; ``mode=ro`` neither writes nor checkpoints.

    Returns:
        A connection in autocommit mode.
    """
    uri = f"file:{quote(str(path.absolute()))}?{mode}"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5.0)
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("PRAGMA synchronous = FULL")
    return db


@contextlib.contextmanager
def inspected(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database that nobody uses, and leave everything around it as it is.

    Args:
        path: of an existing database.

    Yields:
        A connection that only reads.
    """
    shm = path.with_name(path.name + "-shm")
    if path.with_name(path.name + "-wal").exists():
        # There is a log to read, for which SQLite needs its index.
        mode, indexed = "mode=ro", shm.exists()
    else:
        mode, indexed = "immutable=1", True
    try:
        with contextlib.closing(connect(path, mode)) as db:
            yield db
    finally:
        if not indexed:
            shm.unlink(missing_ok=True)


def create(path: Path) -> None:
    """Make an empty database with mode 0600, whole before it gets its name.

    Args:
        path: where nothing is yet.

    Raises:
        StorageError: if it cannot be made, or if a log lies there that belonged to a lost database.
    """
    if path.with_name(path.name + "-wal").exists():
        raise StorageError(f"{path} is missing, but its log is there: restore a backup")
    new = path.with_name(path.name + ".new")
    try:
        for leftover in (new, new.with_name(new.name + "-wal"), new.with_name(new.name + "-shm")):
            leftover.unlink(missing_ok=True)
        os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with contextlib.closing(connect(new)) as db:
            db.execute("PRAGMA journal_mode = WAL")
            migrate(db)
        settle(new, path)
    except (OSError, sqlite3.Error) as error:
        raise StorageError(f"cannot make {path}: {error}") from None


def settle(new: Path, path: Path) -> None:
    """Give a finished file its name, durably."""
    sync(new)
    new.rename(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Have a file, or what was done to the names in a folder, outlive a power cut."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def check(path: Path) -> None:
    """Refuse a file that is not a sound database of ours, without changing it.

    Args:
        path: of the file.

    Raises:
        StorageError: saying what is wrong with it.
    """
    try:
        header = _read_header(path)
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from None
    if not header:
        raise StorageError(f"{path} is empty, its content is lost: restore a backup")
    application = int.from_bytes(header[68:72], "big")
    if header[:16] != b"SQLite format 3\0" or application != APPLICATION_ID:
        raise StorageError(f"{path} is not a database of SecureRelay")
    try:
        with inspected(path) as db:
            problem = _problem(db, path.stat().st_size)
    except sqlite3.OperationalError as error:  # what is around the file, not what is in it
        problem = f"cannot be used now ({error}): is its disk full, or its folder read-only?"
    except sqlite3.Error as error:
        problem = f"is damaged ({error}): restore a backup"
    if problem:
        raise StorageError(f"{path} {problem}")


def _read_header(path: Path) -> bytes:
    """Read the first bytes of the file, which SQLite documents for this purpose."""
    with path.open("rb") as file:
        return file.read(_HEADER)


def _problem(db: sqlite3.Connection, size: int) -> str:
    """Look inside; empty if all is well."""
    if version(db) > len(MIGRATIONS):
        return "was written by a newer version of SecureRelay: update this one"
    tables = [None]
    if size >= _LARGE:
        names = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        tables = [name for (name,) in names if name != "message"]
    for table in tables:
        argument = "" if table is None else f"({table})"
        (found,) = db.execute(f"PRAGMA quick_check{argument}").fetchone()
        if found != "ok":
            first = str(found).splitlines()[-1]
            return f"is damaged ({first}): restore a backup"
    found = "; ".join(mistyped(db))
    return f"is damaged ({found}): restore a backup" if found else ""


def mistyped(db: sqlite3.Connection) -> list[str]:
    """Find values of another type than their column's, which SQLite itself lets pass.

    Messages are left out: a relay looks at each before it delivers it.

    Args:
        db: a database with our tables.

    Returns:
        One line for each column that has any.
    """
    found = []
    columns = db.execute(
        'SELECT m.name, c.name, lower(c.type), c."notnull" OR c.pk FROM sqlite_master m, '
        "pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name <> 'message' "
        "AND c.type IN ('TEXT', 'BLOB', 'INTEGER')"
    ).fetchall()
    for table, column, kind, needed in columns:
        others = "" if needed else ", 'null'"
        query = (
            f"SELECT typeof({column}) FROM {table} "  # noqa: S608 - names of our own schema
            f"WHERE typeof({column}) NOT IN ('{kind}'{others}) LIMIT 1"
        )
        row = db.execute(query).fetchone()
        if row is not None:
            found.append(f"{row[0]} where {kind} belongs in {table}.{column}")
    return found


def open_database(path: Path) -> tuple[sqlite3.Connection, bool]:
    """Open the database for writing, after making or checking it.

    Args:
        path: of the database.

    Returns:
        The connection, with the newest schema; and True if the database was made just now.

    Raises:
        StorageError: if it cannot be used; then it is as it was.
    """
    created = not path.exists()
    if created:
        create(path)
    check(path)
    db = connect(path)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA secure_delete = FAST")
        migrate(db)
    except sqlite3.Error as error:
        db.close()
        raise StorageError(f"cannot open {path}: {error}") from None
    return db, created


def next_epoch(db: sqlite3.Connection, at_least: int = 0) -> int:
    """Raise the epoch and commit it.

    Args:
        db: the writing connection.
        at_least: for a restored backup, a number above every epoch its original may have had.

    Returns:
        The new epoch.

    Raises:
        sqlite3.DatabaseError: if the database does not know its epoch any more; a lower one would
            give numbers out twice.
    """
    db.execute("BEGIN IMMEDIATE")
    row = db.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()
    if row is None or type(row[0]) is not int:
        raise sqlite3.DatabaseError("its epoch is gone")
    new = max(row[0] + 1, at_least)
    db.execute("UPDATE meta SET value = ? WHERE key = 'epoch'", (new,))
    db.execute("COMMIT")
    return new
