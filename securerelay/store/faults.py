"""What SQLite's errors mean for the store."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from securerelay.errors import StorageError
from securerelay.store.interface import StorageFull, StorageStopped

_FULL, _IOERR, _CORRUPT, _NOTADB = 13, 10, 11, 26
_IOERR_FSYNC, _IOERR_DIR_FSYNC = _IOERR | 4 << 8, _IOERR | 5 << 8

# Python 3.10 does not tell the code; SQLite's messages for these are fixed.
_CODES = {
    "database or disk is full": _FULL,
    "disk I/O error": _IOERR,
    "database disk image is malformed": _CORRUPT,
    "file is not a database": _NOTADB,
}


def explain(error: sqlite3.Error, folder: Path) -> StorageError:
    """Say what an error of SQLite means.

    Args:
        error: what a statement or a commit raised.
        folder: where the database lies.

    Returns:
        ``StorageFull`` if there is no room, ``StorageStopped`` if the disk or the file cannot be
        trusted any more, and a plain ``StorageError`` for what may go away by itself.
    """
    code = getattr(error, "sqlite_errorcode", _CODES.get(str(error), 0))
    if code == _FULL:
        return StorageFull(f"no room left in {folder}")
    if code & 0xFF == _IOERR:
        # The log's index cannot grow on a full disk, and SQLite calls that an I/O error.  After a
        # failed sync, though, nobody knows what is on the disk, full or not.
        told = code not in (_IOERR, _IOERR_FSYNC, _IOERR_DIR_FSYNC)
        if told and _no_room(folder):
            return StorageFull(f"no room left in {folder}")
        return StorageStopped(f"the disk under {folder} fails: {error}")
    if code & 0xFF in (_CORRUPT, _NOTADB):
        return StorageStopped(f"the database in {folder} is damaged: {error}")
    return StorageError(f"the database in {folder} refuses: {error}")


def _no_room(folder: Path) -> bool:
    try:
        disk = os.statvfs(folder)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < 64 << 10
