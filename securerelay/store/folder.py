"""Room to spare on a full disk."""

from __future__ import annotations

import os
from pathlib import Path


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
