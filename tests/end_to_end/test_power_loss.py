"""The power fails at any moment: whatever the store had answered is there when it comes back.

A run of the real store is recorded, every write and every sync, by a file system of SQLite's own
making (a VFS of :mod:`apsw`).  Then disks are made as a power failure may leave them: what was
synced is there; of what was written since, each piece may be there, or not, or in part.
"""

from __future__ import annotations

import bisect
import contextlib
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from securerelay.crypto.primitives import sha256
from securerelay.errors import StorageError
from securerelay.store import database
from securerelay.store.folder import Ballast
from securerelay.store.rows import Accepted, Duplicate, Refuse
from securerelay.store.sqlite import SqliteStore
from tests.store.samples import (
    NOW,
    STREAM,
    Lanes,
    certificate,
    enrol,
    invitation,
    message,
    on_disk,
    result,
    ticket,
)

apsw = pytest.importorskip("apsw", reason="apsw records what SQLite writes")

from tests.end_to_end.powerless import Disk, connect  # noqa: E402 - needs apsw

IMAGES = 500
CHANGES = 1500


class Truth:
    """What the store has answered up to one moment."""

    def __init__(self) -> None:
        self.sent = 0
        self.acked = 0
        self.refused: set[int] = set()
        self.enrolled: dict[str, bytes] = {}
        self.revoked: set[str] = set()
        self.taken: set[bytes] = set()
        self.kept: set[bytes] = set()
        self.epoch = 0

    def copy(self) -> Truth:
        other = Truth()
        for name, value in vars(self).items():
            setattr(other, name, value.copy() if hasattr(value, "copy") else value)
        return other


Recorded = tuple[Disk, list[tuple[int, Truth]]]


def work(store: SqliteStore, lanes: Lanes, truth: Truth, rng: random.Random) -> Iterator[None]:
    """Ask for changes of all kinds, many at a time, and note what was answered."""
    base = truth.epoch << 32
    asked = 0
    while truth.sent < CHANGES:
        lane = lanes.made["write"]
        lane.held = True
        told: list[Any] = []
        for _ in range(rng.randrange(1, 12)):
            asked += 1
            if rng.random() < 0.05:
                told.append(
                    (
                        store.append([Refuse("alice", STREAM, asked, "unknown", NOW)]),
                        "refused",
                        asked,
                    )
                )
            else:
                body = rng.randbytes(rng.choice((0, 100, 1000, 9000)))
                item = message(asked, ("bob", base + asked), body=body)
                told.append((store.append([item]), "sent", asked))
        if rng.random() < 0.3 and truth.sent:
            upto = rng.randrange(truth.acked, truth.sent + 1)
            told.append((store.ack("bob", base + upto, NOW), "acked", upto))
        if rng.random() < 0.2:
            name, token = f"guest{asked}", b"%06d" % asked
            row = certificate(name)
            store.invite(invitation(name, token=token))
            told.append((store.consume(token, row, NOW), "enrolled", (name, row.sha256)))
        if rng.random() < 0.2 and truth.enrolled:
            name = rng.choice(sorted(truth.enrolled))
            told.append((store.revoke(name, NOW), "revoked", name))
        if rng.random() < 0.3:
            row = ticket("alice", id_sha256=sha256(b"ticket %d" % asked))
            told.append((store.ticket_put([row]), "kept", row.id_sha256))
        if rng.random() < 0.2 and truth.kept - truth.taken:
            one = rng.choice(sorted(truth.kept - truth.taken))
            told.append((store.ticket_take(one, NOW, lambda _: None), "taken", one))
        lane.release()
        for answer, kind, what in told:
            result(answer)
            _note(truth, kind, what)
        yield


def _note(truth: Truth, kind: str, what: Any) -> None:
    if kind in ("sent", "refused"):
        truth.sent = what
        if kind == "refused":
            truth.refused.add(what)
    elif kind == "acked":
        truth.acked = max(truth.acked, what)
    elif kind == "enrolled":
        truth.enrolled[what[0]] = what[1]
    elif kind == "kept":
        truth.taken.discard(what)
        truth.kept.add(what)
    else:
        getattr(truth, kind).add(what)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """A run of the store: what it did to the disk, and what was true after how many operations."""
    folder = tmp_path_factory.mktemp("recorded")
    first = on_disk(folder)
    truth = Truth()
    truth.epoch = result(first.open()).epoch + 1
    enrol(first, "alice")
    result(first.stream_open("alice", STREAM, 0, NOW))
    result(first.close())
    disk = Disk(folder)
    plain = database.connect
    moments = [(0, truth.copy())]
    with contextlib.ExitStack() as patches:
        patch = patches.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(database, "connect", partial(connect, disk, plain))
        patch.setattr(Ballast, "reserve", lambda self: True)
        lanes = Lanes()
        store = on_disk(folder, lane=lanes)
        assert result(store.open()).epoch == truth.epoch
        moments.append((len(disk.log), truth.copy()))
        for _ in work(store, lanes, truth, random.Random(1)):
            moments.append((len(disk.log), truth.copy()))
        result(store.close())
        moments.append((len(disk.log), truth.copy()))
    return disk, moments


def test_the_recording_has_everything_that_a_power_failure_can_hit(
    recorded: Recorded,
) -> None:
    disk, moments = recorded
    kinds = {(entry.kind, entry.name) for entry in disk.log}
    for name in ("relay.sqlite", "relay.sqlite-wal"):
        assert {("write", name), ("sync", name)} <= kinds
    _, truth = moments[-1]
    assert truth.refused
    assert truth.revoked
    assert truth.taken
    assert truth.acked
    # The checkpoints lie among the changes, not only at the end.
    written = [i for i, entry in enumerate(disk.log) if entry.name == "relay.sqlite"]
    assert written[0] < moments[-2][0] / 2


def test_five_hundred_power_failures_lose_nothing_that_was_answered(
    recorded: Recorded,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk, moments = recorded
    rng = random.Random(7)
    monkeypatch.setattr(Ballast, "reserve", lambda self: True)
    # What the store syncs while it is inspected need not come to a real disk.
    memory = Path("/dev/shm")
    cuts = sorted(rng.randrange(len(disk.log) + 1) for _ in range(IMAGES))
    with tempfile.TemporaryDirectory(
        dir=memory if os.access(memory, os.W_OK) else tmp_path
    ) as parent:
        folder = Path(parent) / "disk"
        for number, (cut, image) in enumerate(disk.images(cuts, rng)):
            write(folder, image)
            try:
                inspect(folder, *around(moments, cut))
            except BaseException as error:
                kept = tmp_path / f"image{number}"
                shutil.move(folder, kept)
                raise AssertionError(f"power failure at operation {cut}: see {kept}") from error
            shutil.rmtree(folder)


def around(moments: list[tuple[int, Truth]], cut: int) -> tuple[Truth, Truth]:
    """What had been answered by a moment, and what was answered next."""
    index = bisect.bisect_right([at for at, _ in moments], cut)
    return moments[index - 1][1], moments[min(index, len(moments) - 1)][1]


def write(folder: Path, image: dict[str, bytes]) -> None:
    folder.mkdir()
    for name, content in image.items():
        (folder / name).write_bytes(content)


def inspect(folder: Path, truth: Truth, soon: Truth) -> None:
    """Look at a disk after a power failure, with the store."""
    store = on_disk(folder)
    assert result(store.open()).epoch >= truth.epoch
    base = truth.epoch << 32
    kept = {row.seq: row for row in result(store.fetch("bob", 0, 1 << 20, 1 << 30))}
    for seq in range(soon.acked + 1, truth.sent + 1):
        assert (seq in kept) != (seq in truth.refused), f"message {seq}"
    assert [row.n for row in kept.values()] == [base + seq for seq in kept]
    stream = result(store.stream_open("alice", STREAM, 0, NOW))
    assert stream.last >= truth.sent
    assert {seq for seq, _ in stream.refusals} >= truth.refused
    if truth.sent:
        again = message(truth.sent, ("bob", (truth.epoch + 9) << 32))
        assert isinstance(result(store.append([again]))[0], Duplicate)
    new = message(stream.last + 1, ("bob", (truth.epoch + 9) << 32))
    assert result(store.append([new])) == [Accepted()]
    for name, hashed in truth.enrolled.items():
        peer = result(store.lookup(name))
        assert peer.certificate.sha256 == hashed
        assert peer.state == "revoked" or name not in truth.revoked
    for invited in result(store.invitations()):
        if invited.state == "used":
            assert result(store.lookup(invited.name)) is not None
        elif result(store.lookup(invited.name)) is not None:
            raise AssertionError(f"{invited.name} is enrolled by an open invitation")
    for row in truth.taken:
        assert result(store.ticket_take(row, NOW, lambda _: None)) is None
    assert result(store.key_log_size()) >= len(truth.enrolled) + len(truth.revoked)
    result(store.close())


def test_a_disk_that_lies_about_its_syncs_is_noticed_by_this_test(
    recorded: Recorded, tmp_path: Path
) -> None:
    disk, moments = recorded
    lying = disk.without_syncs()
    rng = random.Random(7)
    lost = 0
    for number, (cut, image) in enumerate(lying.images([len(disk.log) // 2] * 10, rng)):
        folder = tmp_path / str(number)
        write(folder, image)
        try:
            inspect(folder, *around(moments, cut))
        except (AssertionError, StorageError):
            lost += 1
    assert lost >= 5
