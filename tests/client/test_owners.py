"""Who may drain a stream: nobody while its owner lives, and one at a time afterwards."""

from __future__ import annotations

import os
import pathlib

from securerelay.client import owners as module
from securerelay.client.owners import FOLDER, Owners


def files(folder: pathlib.Path) -> list[str]:
    return sorted(path.stem for path in (folder / FOLDER).iterdir())


def test_the_streams_of_an_owner_that_lives_cannot_be_had(tmp_path: pathlib.Path):
    owners = Owners(tmp_path)
    name, claim = owners.new()
    assert owners.claim(name) is None
    claim.release(remove=False)
    second = owners.claim(name)
    assert second is not None
    assert owners.claim(name) is None
    second.release(remove=True)
    assert files(tmp_path) == []


def test_an_owner_whose_file_was_lost_counts_as_gone(tmp_path: pathlib.Path):
    assert Owners(tmp_path).claim("f" * 32) is not None


def test_a_file_that_was_replaced_between_opening_and_locking_is_not_taken(
    tmp_path: pathlib.Path, monkeypatch
):
    owners = Owners(tmp_path)
    name, claim = owners.new()
    claim.release(remove=False)
    path = tmp_path / FOLDER / f"{name}.lock"
    lock = module.fcntl.flock

    def late(descriptor: int, how: int) -> None:
        path.unlink()
        path.touch()
        lock(descriptor, how)

    monkeypatch.setattr(module.fcntl, "flock", late)
    assert owners.claim(name) is None


def test_files_of_owners_that_left_nothing_go_after_a_day(tmp_path: pathlib.Path):
    owners = Owners(tmp_path)
    made = [owners.new() for _ in range(4)]
    (young, first), (wanted, second), (alive, _), (gone, fourth) = made
    for claim in (first, second, fourth):
        claim.release(remove=False)
    for name in (wanted, alive, gone):
        os.utime(tmp_path / FOLDER / f"{name}.lock", (0, 0))
    owners.tidy({wanted})
    assert files(tmp_path) == sorted([young, wanted, alive])


def test_the_files_are_private(tmp_path: pathlib.Path):
    Owners(tmp_path).new()
    for path in (tmp_path / FOLDER, *(tmp_path / FOLDER).iterdir()):
        assert path.stat().st_mode & 0o077 == 0
