"""What SQLite's errors mean: full, failing, damaged, or none of these."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest

from securerelay.errors import StorageError
from securerelay.store import faults
from securerelay.store.interface import StorageFull, StorageStopped

FSYNC, SHMSIZE = 1034, 4874


def explained(message: str, code: int | None = None) -> type[StorageError]:
    error = sqlite3.OperationalError(message)
    if code is not None:
        error.sqlite_errorcode = code
    return type(faults.explain(error, Path("/")))


@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        ("database or disk is full", StorageFull),
        ("disk I/O error", StorageStopped),
        ("database disk image is malformed", StorageStopped),
        ("file is not a database", StorageStopped),
        ("database is locked", StorageError),
    ],
)
def test_errors_are_known_by_their_messages_where_there_is_no_code(message: str, meaning: type):
    assert explained(message) is meaning


@pytest.mark.parametrize("room", [0, 1 << 30])
def test_a_failed_sync_stops_the_store_whether_the_disk_is_full_or_not(room: int, monkeypatch):
    disk = SimpleNamespace(f_bavail=room, f_frsize=1)
    monkeypatch.setattr(os, "statvfs", lambda _: disk)
    assert explained("disk I/O error", FSYNC) is StorageStopped
    assert explained("disk I/O error", 10) is StorageStopped


def test_an_index_that_cannot_grow_on_a_full_disk_means_full(monkeypatch):
    disk = SimpleNamespace(f_bavail=0, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda _: disk)
    assert explained("disk I/O error", SHMSIZE) is StorageFull
    disk.f_bavail = 1 << 20
    assert explained("disk I/O error", SHMSIZE) is StorageStopped


def test_a_disk_that_cannot_even_be_asked_stops_the_store(monkeypatch):
    def gone(_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "statvfs", gone)
    assert explained("disk I/O error", SHMSIZE) is StorageStopped
