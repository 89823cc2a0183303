"""Backups, restored without anything happening twice, and the thorough check."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from securerelay.errors import FolderLocked, StorageError
from securerelay.store import copies
from securerelay.store.sqlite import SqliteStore
from tests.store.samples import NOW, STREAM, enrol, invitation, message, on_disk, result, ticket

EPOCH = 1 << 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    return made


def filled(folder: Path) -> SqliteStore:
    store = on_disk(folder)
    result(store.open())
    enrol(store, "alice")
    result(store.ticket_put([ticket("alice")]))
    result(store.invite(invitation("carol")))
    result(store.stream_open("alice", STREAM, 0, NOW))
    result(store.append([message(1, ("bob", EPOCH + 1)), message(2, ("bob", EPOCH + 2))]))
    return store


def restored(backup: Path, folder: Path) -> SqliteStore:
    folder.mkdir()
    copies.restore(backup, folder)
    store = on_disk(folder)
    result(store.open())
    return store


def test_a_backup_of_a_running_store_holds_what_was_answered(folder: Path, tmp_path: Path):
    store = filled(folder)
    result(store.backup(tmp_path / "copy"))
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
    result(store.ack("bob", EPOCH + 1, NOW))
    result(store.close())
    other = restored(tmp_path / "copy", tmp_path / "other")
    assert result(other.lookup("alice")).name == "alice"
    assert [row.seq for row in result(other.fetch("bob", 0, 9, 999))] == [1, 2]
    result(other.close())
    left = ["copy", "folder", "other"]
    assert sorted(path.name for path in tmp_path.iterdir() if "xdg" not in path.name) == left


def test_a_restored_store_repeats_no_number_ticket_or_token(folder: Path, tmp_path: Path):
    store = filled(folder)
    result(store.backup(tmp_path / "copy"))
    result(store.close())
    for _ in range(3):
        last = result(store.open()).epoch
        result(store.close())
    other = tmp_path / "other"
    other.mkdir()
    epoch = copies.restore(tmp_path / "copy", other).epoch
    assert epoch > last
    store = on_disk(other)
    assert result(store.open()).epoch == epoch + 1
    assert result(store.ticket_take(ticket("").id_sha256, NOW, lambda _: None)) is None
    assert result(store.invitation(b"tokens")).state == "withdrawn"
    result(store.close())


def test_a_second_restore_of_one_backup_rises_above_the_first(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store = filled(folder)
    result(store.backup(tmp_path / "copy"))
    result(store.close())
    epochs = []
    for second in range(2):
        monkeypatch.setattr(copies.time, "time", lambda second=second: 1.8e9 + 10 * second)
        other = tmp_path / f"other{second}"
        other.mkdir()
        epochs.append(copies.restore(tmp_path / "copy", other).epoch)
    assert epochs[1] > epochs[0] > 1


def test_a_backup_does_not_overwrite_anything(folder: Path, tmp_path: Path):
    store = filled(folder)
    (tmp_path / "copy").write_text("precious")
    with pytest.raises(StorageError, match="exists: choose another name"):
        result(store.backup(tmp_path / "copy"))
    with pytest.raises(StorageError, match="cannot write"):
        result(store.backup(tmp_path / "nowhere" / "copy"))
    assert (tmp_path / "copy").read_text() == "precious"
    result(store.close())


def test_a_store_that_is_there_is_not_overwritten_by_a_restore(folder: Path, tmp_path: Path):
    store = filled(folder)
    result(store.backup(tmp_path / "copy"))
    with pytest.raises(FolderLocked):
        copies.restore(tmp_path / "copy", folder)
    result(store.close())
    before = (folder / "relay.sqlite").read_bytes()
    with pytest.raises(StorageError, match="exists: move it"):
        copies.restore(tmp_path / "copy", folder)
    assert (folder / "relay.sqlite").read_bytes() == before


def test_a_damaged_backup_is_not_restored(folder: Path, tmp_path: Path):
    store = filled(folder)
    result(store.backup(tmp_path / "copy"))
    result(store.close())
    with (tmp_path / "copy").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * 4096)
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(StorageError, match="is damaged"):
        copies.restore(tmp_path / "copy", other)
    assert [path.name for path in other.iterdir()] == ["lock"]


def test_a_sound_store_passes_the_thorough_check(folder: Path):
    store = filled(folder)
    with pytest.raises(FolderLocked):
        copies.examine(folder)
    result(store.close())
    before = (folder / "relay.sqlite").read_bytes()
    assert copies.examine(folder) == []
    assert (folder / "relay.sqlite").read_bytes() == before


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("UPDATE message SET body = x'00' WHERE seq = 2",
         f"message {EPOCH + 2} in the mailbox of bob is damaged"),
        ("DELETE FROM message WHERE seq = 1",
         f"message {EPOCH + 1} in the mailbox of bob is damaged"),
        ("DELETE FROM mail", "2 messages are in no mailbox"),
        ("DELETE FROM certificate", "refers to nothing"),
    ],
)  # fmt: skip
def test_the_thorough_check_names_what_is_wrong(folder: Path, damage: str, told: str):
    result(filled(folder).close())
    with closing(sqlite3.connect(folder / "relay.sqlite")) as db:
        db.execute(damage)
        db.commit()
    assert any(told in line for line in copies.examine(folder))


def test_a_backup_tells_when_it_was_made_and_how_many_peers_it_has(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store = filled(folder)
    monkeypatch.setattr(copies.time, "time", lambda: 1.8e9)
    result(store.backup(tmp_path / "copy"))
    result(store.close())
    monkeypatch.setattr(copies.time, "time", lambda: 1.9e9)
    (tmp_path / "other").mkdir()
    done = copies.restore(tmp_path / "copy", tmp_path / "other")
    assert (done.copied, done.peers) == (1_800_000_000_000, 1)


def test_a_clock_that_lags_would_repeat_numbers_and_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store = filled(folder)
    result(store.backup(tmp_path / "copy"))
    result(store.close())
    by_hand = tmp_path / "by hand"
    by_hand.write_bytes((folder / "relay.sqlite").read_bytes())
    monkeypatch.setattr(copies.time, "time", lambda: 1e9)
    other = tmp_path / "other"
    other.mkdir()
    for source in (tmp_path / "copy", by_hand):
        with pytest.raises(StorageError, match="the clock is wrong"):
            copies.restore(source, other)
    assert [path.name for path in other.iterdir()] == ["lock"]


def test_a_database_that_was_copied_by_hand_can_be_restored(folder: Path, tmp_path: Path):
    result(filled(folder).close())
    other = tmp_path / "other"
    other.mkdir()
    assert copies.restore(folder / "relay.sqlite", other).epoch > 1


def test_a_backup_that_fails_leaves_nothing_behind(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store = filled(folder)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(copies.os, "link", full)
    with pytest.raises(StorageError, match=r"copy: No space left on device$"):
        result(store.backup(tmp_path / "copy"))
    assert not [path for path in tmp_path.iterdir() if "copy" in path.name]
    result(store.close())


def test_a_name_that_was_taken_meanwhile_is_not_overwritten(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store = filled(folder)
    copy = copies._copy

    def slowly(*given: object) -> None:
        (tmp_path / "copy").write_text("precious")
        copy(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(copies, "_copy", slowly)
    with pytest.raises(StorageError, match="File exists"):
        result(store.backup(tmp_path / "copy"))
    assert (tmp_path / "copy").read_text() == "precious"
    result(store.close())
