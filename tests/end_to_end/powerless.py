"""What a database does to its disk, written down, and what a power failure may leave of it.

:func:`connect` opens a database with :mod:`apsw` instead of the standard library's module, in a
file system (SQLite's VFS) that notes every write and every sync; the SQL that runs is the store's.
Such a file system has no shared memory, so all who ask for a connection share one, in SQLite's
exclusive locking mode.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apsw

SECTOR = 512
"""Bytes that a disk writes as a whole, or not at all."""


class Operation(NamedTuple):
    """One thing that was done to a file.

    Attributes:
        kind: ``write``, ``sync``, ``truncate`` or ``delete``.
        name: of the file.
        offset: of a write; the size for a truncation.
        data: of a write.
    """

    kind: str
    name: str
    offset: int = 0
    data: bytes = b""


class Disk:
    """A folder as it was, and everything that happened to its database since.

    Args:
        folder: where the database lies, closed.
        log: what happened.
    """

    def __init__(self, folder: Path, log: Sequence[Operation] = ()) -> None:
        self.base = {path.name: path.read_bytes() for path in folder.glob("relay.sqlite*")}
        self.log: list[Operation] = list(log)
        self.vfs = f"recording {id(self)}"
        self._recording = _Recording(self.vfs, self)
        self.connection: Connection | None = None

    def without_syncs(self) -> Disk:
        """Return the same history on a disk that lies about syncs."""
        other = Disk.__new__(Disk)
        other.base = self.base
        other.log = [Operation("", "") if done.kind == "sync" else done for done in self.log]
        return other

    def images(
        self, cuts: Sequence[int], rng: random.Random
    ) -> Iterator[tuple[int, dict[str, bytes]]]:
        """Make disks as the power may leave them.

        Args:
            cuts: when it fails: after so many operations; rising.
            rng: decides what becomes of what was not synced.

        Yields:
            Each cut, and the files.
        """
        durable = {name: bytearray(content) for name, content in self.base.items()}
        pending: dict[str, list[Operation]] = {}
        done = 0
        for cut in cuts:
            for operation in self.log[done:cut]:
                if operation.kind == "sync":
                    for earlier in pending.pop(operation.name, ()):
                        _apply(durable, earlier)
                elif operation.kind:
                    pending.setdefault(operation.name, []).append(operation)
            done = cut
            image = {name: bytearray(content) for name, content in durable.items()}
            luck = rng.choice((0.0, 0.1, 0.5, 0.9, 1.0))
            for operations in pending.values():
                for operation in operations:
                    _apply_perhaps(image, operation, luck, rng)
            yield cut, {name: bytes(content) for name, content in image.items()}


def _apply(files: dict[str, bytearray], done: Operation) -> None:
    if done.kind == "delete":
        files.pop(done.name, None)
        return
    content = files.setdefault(done.name, bytearray())
    if done.kind == "truncate":
        del content[done.offset :]
    else:
        content.extend(bytes(max(0, done.offset - len(content))))
        content[done.offset : done.offset + len(done.data)] = done.data


def _apply_perhaps(
    files: dict[str, bytearray], done: Operation, luck: float, rng: random.Random
) -> None:
    """Apply an operation, or not, or each sector of it or not."""
    if done.kind != "write" or rng.random() < 0.5:
        if rng.random() < luck:
            _apply(files, done)
        return
    at = 0
    while at < len(done.data):
        end = at + SECTOR - (done.offset + at) % SECTOR
        if rng.random() < luck:
            _apply(files, Operation("write", done.name, done.offset + at, done.data[at:end]))
        at = end


class _Recording(apsw.VFS):
    def __init__(self, name: str, disk: Disk) -> None:
        super().__init__(name, "")
        self.disk = disk

    def xOpen(self, name: Any, flags: list[int]) -> _File:
        return _File(name, flags, self.disk)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        super().xDelete(filename, syncdir)
        name = Path(filename).name
        self.disk.log.append(Operation("delete", name))
        if syncdir:
            self.disk.log.append(Operation("sync", name))


class _File(apsw.VFSFile):
    def __init__(self, path: Any, flags: list[int], disk: Disk) -> None:
        super().__init__("", path, flags)
        self._name = Path(path if isinstance(path, str) else path.filename()).name
        self._log = disk.log

    def xWrite(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        self._log.append(Operation("write", self._name, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:
        super().xTruncate(newsize)
        self._log.append(Operation("truncate", self._name, newsize))

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        self._log.append(Operation("sync", self._name))


class Connection:
    """As much of :class:`sqlite3.Connection` as the store uses, over :mod:`apsw`."""

    def __init__(self, disk: Disk, path: Path) -> None:
        flags = apsw.SQLITE_OPEN_READWRITE
        self._db = apsw.Connection(str(path), flags=flags, vfs=disk.vfs)
        self._disk = disk
        self.execute = self._db.execute
        self.executemany = self._db.executemany
        self.execute("PRAGMA locking_mode = EXCLUSIVE")
        self.execute("PRAGMA foreign_keys = ON")
        self.execute("PRAGMA synchronous = FULL")

    @property
    def in_transaction(self) -> bool:
        return self._db.in_transaction

    @property
    def total_changes(self) -> int:
        return self._db.total_changes()

    def close(self) -> None:
        if self._disk.connection is self:
            self._disk.connection = None
            self._db.close()


class _Shared:
    """Another name for the one connection."""

    def __init__(self, connection: Connection) -> None:
        self.execute = connection.execute

    def close(self) -> None:
        """The one who writes closes it."""


def connect(disk: Disk, plain: Any, path: Path, mode: str = "mode=rw") -> Any:
    """Do what :func:`securerelay.store.database.connect` does, and note what happens to the disk.

    Args:
        disk: where it is noted.
        plain: the function whose place this takes.
        path: of the database.
        mode: as there.
    """
    if mode == "mode=rw":
        disk.connection = Connection(disk, path)
        return disk.connection
    return _Shared(disk.connection) if disk.connection is not None else plain(path, mode)
