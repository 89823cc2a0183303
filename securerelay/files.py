"""Files that hold secrets: private from their first byte, whole or absent, safe in a power cut.

And folders that one process at a time may use.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import secrets
import stat
from collections.abc import Iterator

from securerelay.errors import FolderLocked, LocalError, StorageError

LOCK = "lock"
"""The file of a folder's lock."""
LARGEST = 1 << 20
"""No file that is read here is larger; bytes."""


def write_private(path: pathlib.Path, data: bytes, *, replace: bool = True) -> None:
    """Write a file that only its owner can read, so that it has its old content or all of the new.

    Args:
        path: the file, in a folder that exists.
        data: all of its content.
        replace: whether a file of that name may be replaced.

    Raises:
        LocalError: if it cannot be written, or is there and may not be replaced.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            if replace:
                os.replace(temporary, path)
            else:
                os.link(temporary, path)
        finally:
            # After os.replace there is nothing left to remove.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        sync_folder(path.parent)
    except FileExistsError:
        raise LocalError(f"{path} exists already, and is left as it is") from None
    except OSError as error:
        raise LocalError(f"cannot write {path}: {error.strerror}") from None


def read_private(path: pathlib.Path) -> bytes:
    """Read a file that nobody else may read.

    Args:
        path: the file; a symbolic link is followed.

    Returns:
        Its content.

    Raises:
        LocalError: if it cannot be read, is larger than :data:`LARGEST`, or is open to others.
    """
    # Without O_NONBLOCK a pipe with no writer would hold us up for ever.
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            state = os.fstat(file.fileno())
            if not stat.S_ISREG(state.st_mode):
                raise LocalError(f"{path} is no file")
            if state.st_mode & 0o077:
                raise LocalError(
                    f"{path} can be used by others than its owner; make it private: chmod 600"
                )
            if state.st_uid not in (os.geteuid(), 0):
                raise LocalError(f"{path} belongs to another user")
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise LocalError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > LARGEST:
        raise LocalError(f"{path} is too large")
    return data


def remove(path: pathlib.Path) -> None:
    """Remove a file, if it is there, so that it stays removed after a power cut.

    Raises:
        LocalError: if it cannot be removed.
    """
    try:
        path.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise LocalError(f"cannot remove {path}: {error.strerror}") from None


def make_private_folder(path: pathlib.Path) -> bool:
    """Make a folder that only its owner can enter, and the folders above it as needed.

    Args:
        path: the folder; one that is there already is left as it is.

    Returns:
        Whether it was made.

    Raises:
        LocalError: if it cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700)
        sync_folder(path.parent)
    except OSError as error:
        if path.is_dir():
            return False
        raise LocalError(f"cannot make the folder {path}: {error.strerror}") from None
    return True


def sync_folder(path: pathlib.Path) -> None:
    """Make what was created, renamed or removed in a folder outlive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(path: pathlib.Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock that a file stands for, among processes and threads.

    Args:
        path: the file; it is made if needed, and stays.
        wait: whether to wait for whoever holds it.

    Yields:
        Whether the lock is held; always True when waiting.

    Raises:
        LocalError: if the file cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise LocalError(f"cannot write {path}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


class FolderLock:
    """Keeps every other relay out of a data folder while this process uses it.

    The lock ends with the process, however it ends; the file stays, and holds the process id for
    whoever wonders.  It is taken before anything else in the folder is made or read.

    Args:
        folder: the folder; it exists when the lock is taken.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock, unless it is held by this object already.

        Raises:
            FolderLocked: if somebody has it.
            StorageError: if the folder is missing or not ours to write.
        """
        if self._file is None:
            self._file = self._taken()

    def tell(self) -> None:
        """Write our process id down; not before the folder is used, for until then we may fork."""
        if self._file is not None:
            # On a full disk the lock counts, not the number.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, 0)
                os.pwrite(self._file, b"%d\n" % os.getpid(), 0)

    def _taken(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            file = os.open(self._folder / LOCK, flags, 0o600)
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
        return file

    def release(self) -> None:
        """Let go; nothing happens if the lock is not held."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> FolderLock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
