"""Who may extend a stream: the process that made it, for as long as it lives.

Each program that sends holds a lock on a file of its own (``flock``); the system lets go of it
when the process ends, however it ends.  Whoever can take the lock knows that the owner is gone, and
may drain its streams.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import secrets
import time

from securerelay import files
from securerelay.errors import LocalError

FOLDER = "outbox"
STALE = 86_400.0
"""Seconds after which a file of nobody's is removed."""


class Claim:
    """The lock of an owner, held by us until it is let go or we end."""

    def __init__(self, path: pathlib.Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    def release(self, remove: bool) -> None:
        """Let go.

        Args:
            remove: whether nothing is left to drain, so that the file can go.
        """
        if self._descriptor >= 0:
            if remove:
                with contextlib.suppress(OSError):
                    self._path.unlink()
            os.close(self._descriptor)
            self._descriptor = -1


class Owners:
    """The owners of one profile's streams.

    Args:
        profile: the profile's folder.
    """

    def __init__(self, profile: pathlib.Path) -> None:
        self._folder = profile / FOLDER

    def new(self) -> tuple[str, Claim]:
        """Become an owner.

        Returns:
            The owner's name, and its lock.

        Raises:
            LocalError: if the folder cannot be written.
        """
        files.make_private_folder(self._folder)
        name = secrets.token_hex(16)
        claim = self.claim(name)
        if claim is None:
            raise LocalError(f"cannot lock a new file in {self._folder}")
        return name, claim

    def claim(self, owner: str) -> Claim | None:
        """Take an owner's lock.

        Args:
            owner: its name.

        Returns:
            The lock; None if the owner lives, or somebody drains its streams.

        Raises:
            LocalError: if the folder cannot be written.
        """
        path = self._folder / f"{owner}.lock"
        files.make_private_folder(self._folder)
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(path, flags, 0o600)
        except OSError as error:
            raise LocalError(f"cannot write {path}: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it may have removed it, and a third may have made it anew.
            same = os.path.samestat(os.fstat(descriptor), os.stat(path))
        except OSError:
            same = False
        if not same:
            os.close(descriptor)
            return None
        return Claim(path, descriptor)

    def tidy(self, wanted: set[str]) -> None:
        """Remove the files of owners that are gone and have left nothing.

        Args:
            wanted: the owners that have left something.
        """
        for path in self._folder.glob("*.lock"):
            with contextlib.suppress(OSError, LocalError):
                if path.stem in wanted or path.stat().st_mtime > time.time() - STALE:
                    continue
                claim = self.claim(path.stem)
                if claim is not None:
                    claim.release(remove=True)
