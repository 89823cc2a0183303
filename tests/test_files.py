"""Files for secrets: private, whole, and never in somebody's way."""

from __future__ import annotations

import os
import pathlib
import stat

import pytest

from securerelay import files
from securerelay.errors import FolderLocked, LocalError


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_written_is_read_again_and_nobody_else_can_read_it(tmp_path):
    old = os.umask(0)
    try:
        files.write_private(tmp_path / "secret", b"one")
        files.write_private(tmp_path / "secret", b"two")
    finally:
        os.umask(old)
    assert files.read_private(tmp_path / "secret") == b"two"
    assert mode(tmp_path / "secret") == 0o600
    assert os.listdir(tmp_path) == ["secret"]


def test_a_secret_is_private_from_its_first_byte(tmp_path, monkeypatch):
    seen = []
    real = os.fsync

    def look(descriptor):
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    old = os.umask(0)
    try:
        files.write_private(tmp_path / "secret", b"one")
    finally:
        os.umask(old)
    assert seen[0] == 0o600


def test_a_write_that_fails_leaves_the_old_content_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "secret"
    files.write_private(path, b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LocalError, match=r"cannot write .*: No space left on device"):
        files.write_private(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["secret"]


def test_a_file_that_must_not_be_replaced_is_left_as_it_is(tmp_path):
    path = tmp_path / "secret"
    files.write_private(path, b"old", replace=False)
    with pytest.raises(LocalError, match="exists already"):
        files.write_private(path, b"new", replace=False)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["secret"]


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620, 0o602])
def test_a_secret_that_others_can_use_is_refused(tmp_path, bits):
    path = tmp_path / "secret"
    path.write_bytes(b"x")
    path.chmod(bits)
    with pytest.raises(LocalError, match="chmod 600"):
        files.read_private(path)


def test_a_secret_of_another_user_is_refused(tmp_path, monkeypatch):
    files.write_private(tmp_path / "secret", b"x")
    os.chown(tmp_path / "secret", 12345, -1) if os.geteuid() == 0 else monkeypatch.setattr(
        os, "geteuid", lambda: 12345
    )
    with pytest.raises(LocalError, match="another user"):
        files.read_private(tmp_path / "secret")


def test_what_is_missing_no_file_or_too_large_is_refused(tmp_path):
    with pytest.raises(LocalError, match=r"cannot read .*: No such file"):
        files.read_private(tmp_path / "missing")
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(LocalError, match="is no file"):
        files.read_private(tmp_path / "pipe")
    files.write_private(tmp_path / "large", bytes(files.LARGEST + 1))
    with pytest.raises(LocalError, match="too large"):
        files.read_private(tmp_path / "large")


def test_a_private_folder_is_made_with_those_above_it(tmp_path):
    path = tmp_path / "a" / "b" / "c"
    old = os.umask(0)
    try:
        assert files.make_private_folder(path)
    finally:
        os.umask(old)
    assert mode(path) == 0o700
    assert not files.make_private_folder(path)


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LocalError, match=r"cannot make the folder .*: File exists"):
        files.make_private_folder(tmp_path / "file")
    with pytest.raises(LocalError, match=r"cannot make the folder"):
        files.make_private_folder(tmp_path / "file" / "below")


def test_removing_is_quiet_when_there_is_nothing(tmp_path):
    files.write_private(tmp_path / "secret", b"x")
    files.remove(tmp_path / "secret")
    files.remove(tmp_path / "secret")
    assert os.listdir(tmp_path) == []
    with pytest.raises(LocalError, match=r"cannot remove"):
        files.remove(tmp_path / "missing" / "secret")


def test_a_lock_keeps_a_second_one_out_until_it_is_released(tmp_path):
    path = tmp_path / "lock"
    with files.locked(path) as first, files.locked(path, wait=False) as second:
        assert first
        assert not second
    with files.locked(path, wait=False) as third:
        assert third
    assert mode(path) == 0o600


def test_a_lock_that_cannot_be_had_is_told(tmp_path):
    with pytest.raises(LocalError, match=r"cannot write"), files.locked(tmp_path / "no" / "lock"):
        pass


def test_the_lock_of_a_folder_says_who_uses_it(tmp_path: pathlib.Path):
    with files.FolderLock(tmp_path) as lock:
        assert (tmp_path / "lock").read_bytes() == b""
        lock.tell()
        owner = rf"another relay \(pid {os.getpid()}\) is running on"
        with pytest.raises(FolderLocked, match=owner):
            files.FolderLock(tmp_path).acquire()
    files.FolderLock(tmp_path).acquire()
