"""Backups of a relay that runs or does not, restoring one, and the thorough check."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from securerelay.files import FolderLock
from tests.cli.conftest import FakeRelay, Run
from tests.relay.folders import copy_folder
from tests.store.samples import NOW, STREAM, enrol, message, on_disk, result


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of a relay that does not run, with a peer and a message for her."""
    folder = copy_folder(tmp_path / "data")
    store = on_disk(folder)
    epoch = result(store.open()).epoch
    enrol(store, "alice")
    result(store.stream_open("alice", STREAM, 0, NOW))
    result(store.append([message(1, ("alice", (epoch << 32) + 1))]))
    result(store.close())
    monkeypatch.setenv("SECURERELAY_DATA", str(folder))
    return folder


def test_a_relay_that_runs_writes_the_backup_itself(run: Run, relay: FakeRelay, tmp_path: Path):
    relay.answers["backup"] = {"path": "x", "size": 77}
    ran = run("backup", "copy", "--json")
    assert ran.records == [
        {"backup": str(Path.cwd() / "copy"), "size": 77, "data": str(relay.folder)}
    ]
    assert relay.requests == [{"verb": "backup", "path": str(Path.cwd() / "copy")}]
    relay.raw = b'{"ok": false, "code": "refused", "message": "/x exists: choose another name"}\n'
    ran = run("backup", "/x")
    assert (ran.status, ran.err) == (1, "securerelay: /x exists: choose another name\n")


def test_a_relay_is_backed_up_and_restored_into_another_folder(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ran = run("backup", str(tmp_path / "copy"))
    assert (ran.status, "knew just now" in ran.out) == (0, True)
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
    other = copy_folder(tmp_path / "other")
    monkeypatch.setenv("SECURERELAY_DATA", str(other))
    ran = run("restore", str(tmp_path / "copy"))
    assert ran.status == 0
    assert "with 1 peer\n" in ran.out
    assert "revoke again whom you revoked since" in ran.out
    assert run("fsck").out == f"the database in {other} is sound\n"
    store = on_disk(other)
    result(store.open())
    assert [row.body for row in result(store.fetch("alice", 0, 9, 999))] != []
    result(store.close())


def test_nothing_is_overwritten(run: Run, data: Path, tmp_path: Path):
    (tmp_path / "copy").write_text("precious")
    assert "exists: choose another name" in run("backup", str(tmp_path / "copy")).err
    assert (tmp_path / "copy").read_text() == "precious"
    run("backup", str(tmp_path / "second"))
    before = (data / "relay.sqlite").read_bytes()
    ran = run("restore", str(tmp_path / "second"), "--json")
    assert (ran.status, ran.error["error"]) == (1, "storage")
    assert "move it" in ran.error["message"]
    assert (data / "relay.sqlite").read_bytes() == before


def test_key_files_come_back_before_the_database(run: Run, data: Path, tmp_path: Path):
    run("backup", str(tmp_path / "copy"))
    (data / "relay.sqlite").unlink()
    (data / "relay.key").unlink()
    ran = run("restore", str(tmp_path / "copy"))
    assert ran.status == 1
    assert ran.err == (
        f"securerelay: there is no relay.key in {data}: put the key files back first\n"
    )


@pytest.mark.parametrize("words", [("backup", "/x/copy"), ("restore", "/x/copy"), ("fsck",)])
def test_a_relay_that_runs_and_does_not_answer_is_to_be_stopped_first(
    run: Run, data: Path, words: tuple[str, ...]
):
    with FolderLock(data):
        ran = run(*words)
    assert ran.status == 1
    assert ran.err == (
        f"securerelay: another relay (pid {os.getpid()}) is running on {data}; stop it first\n"
    )


def test_damage_is_told_line_by_line_and_is_a_status(run: Run, data: Path):
    (data / "lock").unlink()
    with closing(sqlite3.connect(data / "relay.sqlite")) as db:
        db.execute("UPDATE message SET body = x'00'")
        db.commit()
    ran = run("fsck")
    assert ran.status == 1
    assert ran.out.startswith(f"{data} is damaged\n  message ")
    assert "in the mailbox of alice is damaged\n" in ran.out
    ran = run("fsck", "--json")
    assert (ran.status, ran.records[0]["sound"], len(ran.records[0]["problems"])) == (1, False, 1)


def test_what_is_no_relay_is_told(run: Run, tmp_path: Path):
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder in (empty, tmp_path / "nowhere"):
        for words in (("fsck",), ("backup", str(tmp_path / "copy"))):
            ran = run(*words, "--data", str(folder))
            assert (ran.status, ran.err) == (
                1,
                f"securerelay: there is no relay.sqlite in {folder}\n",
            )
    assert "there is no ca.key" in run("restore", "x", "--data", str(empty)).err
    assert list(empty.iterdir()) == []
