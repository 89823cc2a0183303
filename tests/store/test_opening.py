"""Opening the store on disk: made whole, checked first, never replaced, never shared."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from securerelay.errors import FolderLocked, StorageError
from securerelay.files import FolderLock
from securerelay.store import database, schema
from tests.store.samples import NOW, STREAM, enrol, message, on_disk, result

EPOCH = 1 << 32


def used(folder: Path) -> Path:
    """A closed store with something in it; returns its database."""
    store = on_disk(folder)
    result(store.open())
    enrol(store, "alice")
    result(store.stream_open("alice", STREAM, 0, NOW))
    bodies = [bytes([index]) * 3000 for index in range(100)]
    batch = [
        message(seq, ("bob", EPOCH + seq), body=body) for seq, body in enumerate(bodies, start=1)
    ]
    result(store.append(batch))
    result(store.close())
    return folder / "relay.sqlite"


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}


def refused(folder: Path) -> str:
    """Why the store does not open; nothing in the folder may change."""
    before = content(folder)
    with pytest.raises(StorageError) as error:
        result(on_disk(folder).open())
    assert content(folder) == before
    FolderLock(folder).acquire()
    return error.value.message


def test_every_file_is_for_its_owner_alone(tmp_path: Path):
    old = os.umask(0)
    try:
        store = on_disk(tmp_path)
        result(store.open())
        enrol(store, "alice")
    finally:
        os.umask(old)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    names = {"relay.sqlite", "relay.sqlite-wal", "relay.sqlite-shm", "lock", "ballast"}
    assert modes == dict.fromkeys(names, 0o600)
    result(store.close())


def test_the_database_is_marked_as_ours_and_fit_to_survive(tmp_path: Path):
    with closing(sqlite3.connect(used(tmp_path))) as db:
        assert db.execute("PRAGMA application_id").fetchone() == (schema.APPLICATION_ID,)
        assert db.execute("PRAGMA user_version").fetchone() == (len(schema.MIGRATIONS),)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    db, created = database.open_database(tmp_path / "relay.sqlite")
    assert created is False
    assert db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert db.execute("PRAGMA foreign_keys").fetchone() == (1,)
    db.close()


def test_a_second_relay_on_the_folder_is_told_who_has_it(tmp_path: Path):
    first, second = on_disk(tmp_path), on_disk(tmp_path)
    result(first.open())
    with pytest.raises(FolderLocked) as error:
        result(second.open())
    owner = f"another relay (pid {os.getpid()}) is running on {tmp_path}"
    assert error.value.message == owner
    result(first.close())
    assert result(second.open()).epoch == 2
    result(second.close())


def test_a_lock_that_the_caller_holds_is_used_and_let_go(tmp_path: Path):
    lock = FolderLock(tmp_path)
    lock.acquire()
    store = on_disk(tmp_path, lock=lock)
    result(store.open())
    with pytest.raises(FolderLocked):
        FolderLock(tmp_path).acquire()
    result(store.close())
    FolderLock(tmp_path).acquire()


def test_a_missing_folder_is_named(tmp_path: Path):
    with pytest.raises(StorageError, match=r"cannot use .*nowhere: No such file"):
        result(on_disk(tmp_path / "nowhere").open())


def test_a_file_of_another_program_is_left_alone(tmp_path: Path):
    (tmp_path / "relay.sqlite").write_bytes(b"Dear diary, " * 100)
    assert refused(tmp_path).endswith("relay.sqlite is not a database of SecureRelay")


def test_a_database_of_another_program_is_left_alone(tmp_path: Path):
    with closing(sqlite3.connect(tmp_path / "relay.sqlite")) as db:
        db.execute("CREATE TABLE diary (day TEXT)")
    assert "is not a database of SecureRelay" in refused(tmp_path)


def test_an_emptied_database_is_not_taken_for_a_new_one(tmp_path: Path):
    path = used(tmp_path)
    os.truncate(path, 0)
    assert "is empty" in refused(tmp_path)


def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path):
    with closing(sqlite3.connect(used(tmp_path))) as db:
        db.execute(f"PRAGMA user_version = {len(schema.MIGRATIONS) + 1}")
    assert "newer version of SecureRelay" in refused(tmp_path)


@pytest.mark.parametrize("page", [2, 3, 5, 10, 20])
def test_a_damaged_page_is_found_and_nothing_is_touched(tmp_path: Path, page: int):
    path = used(tmp_path)
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 4096)
    assert "is damaged" in refused(tmp_path)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("DELETE FROM meta WHERE key = 'epoch'", "its epoch is gone"),
        ("UPDATE meta SET value = x'00'", "blob where integer belongs in meta.value"),
    ],
)
def test_a_database_that_lost_its_epoch_is_not_given_another(
    tmp_path: Path, damage: str, says: str
):
    path = used(tmp_path)
    with closing(sqlite3.connect(path)) as db:
        db.execute(damage)
        db.commit()
    assert says in refused(tmp_path)


def test_what_keeps_a_sound_database_from_being_opened_is_not_taken_for_damage(tmp_path: Path):
    path = used(tmp_path)
    log = path.with_name(path.name + "-wal")
    log.unlink(missing_ok=True)
    log.mkdir()  # as on a full disk, or in a read-only folder, SQLite cannot make its log
    with pytest.raises(StorageError, match=r"cannot be used now .*disk full") as told:
        result(on_disk(tmp_path).open())
    assert "damaged" not in told.value.message


def test_a_cut_off_database_is_found(tmp_path: Path):
    path = used(tmp_path)
    os.truncate(path, path.stat().st_size // 2)
    assert "is damaged" in refused(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("peer SET roles = x'00'", "blob where text belongs in peer.roles"),
        ("certificate SET serial = 'one'", "text where blob belongs in certificate.serial"),
        ("certificate SET not_after = 'soon'", "text where integer belongs in certificate.not_a"),
        ("mail SET size = 1.5", "real where integer belongs in mail.size"),
        ("peer SET ended = 'now'", "text where integer belongs in peer.ended"),
    ],
)
def test_a_value_of_a_wrong_type_is_found_before_anybody_uses_it(
    tmp_path: Path, change: str, says: str
):
    path = used(tmp_path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE " + change)
        db.commit()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert f"is damaged ({says}" in refused(tmp_path)


def test_a_damaged_database_keeps_its_log_too(tmp_path: Path):
    folder = tmp_path / "copy"
    folder.mkdir()
    used(tmp_path)
    store = on_disk(tmp_path)
    result(store.open())
    enrol(store, "bob")
    # As after a power cut: the log has not been checkpointed.
    for name in ("relay.sqlite", "relay.sqlite-wal"):
        shutil.copy(tmp_path / name, folder / name)
    result(store.close())
    path = folder / "relay.sqlite"
    with path.open("r+b") as file:
        file.seek(-20 * 4096, os.SEEK_END)
        file.write(b"\xa5" * 4096 * 10)
    assert "is damaged" in refused(folder)


def test_a_log_without_its_database_is_not_mixed_with_a_new_one(tmp_path: Path):
    (tmp_path / "relay.sqlite-wal").write_bytes(b"what is left")
    assert "is missing, but its log is there" in refused(tmp_path)


def test_what_was_answered_before_a_crash_is_there_after_it(tmp_path: Path):
    folder = tmp_path / "copy"
    folder.mkdir()
    store = on_disk(tmp_path)
    result(store.open())
    alice = enrol(store, "alice")
    for name in ("relay.sqlite", "relay.sqlite-wal"):
        shutil.copy(tmp_path / name, folder / name)
    result(store.close())
    after = on_disk(folder)
    assert result(after.open()).epoch == 2
    assert result(after.lookup("alice")) == alice
    result(after.close())


def test_what_is_left_of_a_start_that_was_cut_short_does_no_harm(tmp_path: Path):
    for name in ("relay.sqlite.new", "relay.sqlite.new-wal", "relay.sqlite.new-shm"):
        (tmp_path / name).write_bytes(b"half a database")
    store = on_disk(tmp_path)
    assert result(store.open()).created is True
    result(store.close())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ballast", "lock", "relay.sqlite"]


def test_a_folder_that_cannot_be_written_gives_one_clear_line(tmp_path: Path, monkeypatch):
    def denied(*args: object, **kwargs: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(database.os, "open", denied)
    with pytest.raises(StorageError) as error:
        database.create(tmp_path / "relay.sqlite")
    assert "cannot make" in error.value.message
    assert "\n" not in error.value.message


def test_a_large_database_is_checked_but_for_the_messages(tmp_path: Path, monkeypatch):
    path = used(tmp_path)
    monkeypatch.setattr(database, "_LARGE", 0)
    database.check(path)
    with closing(sqlite3.connect(path)) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'mail'").fetchone()
    with path.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xa5" * 4096)
    with pytest.raises(StorageError, match="is damaged"):
        database.check(path)
