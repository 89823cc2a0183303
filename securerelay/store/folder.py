"""The data folder as a whole: one process at a time, and room to spare on a full disk."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from securerelay.errors import FolderLocked, StorageError


class FolderLock:
    """Keeps every other relay out of a folder while this one uses it.

    The lock ends with the process, however it ends; the file stays, and holds the process id for
    whoever wonders.  It is taken before anything else in the folder is made or read.

    Args:
        folder: an existing folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock, unless it is held by this object already.

        Raises:
            FolderLocked: if somebody has it.
            StorageError: if the folder is missing or not ours to write.
        """
        if self._file is not None:
            return
        try:
            file = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"cannot use {self._folder}: {error.strerror}") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.read(file, 20).decode("ascii", "replace").strip()
            os.close(file)
            raise FolderLocked(
                f"another relay (pid {owner or 'unknown'}) is running on {self._folder}"
            ) from None
        os.ftruncate(file, 0)
        # On a full disk the lock counts, not the number.
        with contextlib.suppress(OSError):
            os.write(file, b"%d\n" % os.getpid())
        self._file = file

    def release(self) -> None:
        """Let go; nothing happens if the lock is not held."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


class Ballast:
    """A file of reserved disk space, given up when not even a delete finds room to be written down.

    Args:
        folder: where it lies.
        size: bytes.
    """

    def __init__(self, folder: Path, size: int = 16 << 20) -> None:
        self._path = folder / "ballast"
        self._size = size

    def reserve(self) -> bool:
        """Make the file if it can be made without taking the last of the disk.

        Returns:
            True if the file is there.
        """
        try:
            if self._path.exists() and self._path.stat().st_size == self._size:
                return True
            disk = os.statvfs(self._path.parent)
            if disk.f_bavail * disk.f_frsize < 2 * self._size:
                return False
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(file, 0, self._size)
                os.fsync(file)
            finally:
                os.close(file)
        except OSError:
            self.release()
            return False
        return True

    def release(self) -> bool:
        """Give the space to whoever writes next.

        Returns:
            True if there was any.
        """
        try:
            self._path.unlink()
        except OSError:
            return False
        return True
