"""The reserve for a full disk."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

from securerelay.store.folder import Ballast


def test_the_ballast_takes_real_room_and_gives_it_back(tmp_path: Path):
    ballast = Ballast(tmp_path, 1 << 20)
    assert ballast.reserve()
    assert ballast.reserve()
    status = (tmp_path / "ballast").stat()
    assert (status.st_size, status.st_mode & 0o777) == (1 << 20, 0o600)
    assert status.st_blocks * 512 >= 1 << 20
    assert ballast.release()
    assert not ballast.release()
    assert list(tmp_path.iterdir()) == []


def test_ballast_is_not_made_of_the_last_of_the_disk(tmp_path: Path, monkeypatch):
    disk = SimpleNamespace(f_bavail=1, f_frsize=1 << 20)
    monkeypatch.setattr(os, "statvfs", lambda _: disk)
    assert not Ballast(tmp_path, 1 << 20).reserve()
    assert list(tmp_path.iterdir()) == []


def test_ballast_that_cannot_be_made_whole_is_not_left_behind(tmp_path: Path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert not Ballast(tmp_path, 1 << 20).reserve()
    assert list(tmp_path.iterdir()) == []


def test_ballast_of_another_size_is_made_anew(tmp_path: Path):
    (tmp_path / "ballast").write_bytes(b"cut off")
    assert Ballast(tmp_path, 1 << 20).reserve()
    assert (tmp_path / "ballast").stat().st_size == 1 << 20
