"""What ``securerelay listen`` has shown and the profile may not have noted yet.

A message is noted as dealt with once it has been shown, and many are noted in one go, since each
time costs an ``fsync``. In between a listener may be killed. So each message that was shown is
written into a file of its own as well, which costs next to nothing because nobody waits for the
disk; whoever listens next looks there, and shows at most the very last one again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from securerelay.errors import LocalError

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from securerelay.client import Message

NAME = "shown"
LARGEST = 1 << 20
"""Bytes that the file may grow to before the profile's notes are waited for."""


class Shown:
    """The file, open while a listener runs.

    Args:
        folder: the profile's.

    Raises:
        LocalError: if it cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._file = os.open(folder / NAME, flags, 0o600)
            self._before = frozenset(os.pread(self._file, 2 * LARGEST, 0).splitlines())
            self._size = os.fstat(self._file).st_size
        except OSError as error:
            raise LocalError(f"cannot use {folder / NAME}: {error.strerror}") from None
        self._newest = 0

    def close(self) -> None:
        """Close the file; nothing happens to it any more."""
        os.close(self._file)
        self._file = -1

    def __contains__(self, message: Message) -> bool:
        """Tell whether an earlier listener has shown a message."""
        return _line(message) in self._before

    def add(self, message: Message) -> None:
        """Write down that a message was shown; on a full disk it may be shown twice."""
        with contextlib.suppress(OSError):
            self._size += os.write(self._file, _line(message) + b"\n")
        self._newest = message.n

    async def noted(self, message: Message, noting: Deferred[None]) -> None:
        """Forget what was shown once the profile has noted all of it; wait if that is much.

        Args:
            message: the newest.
            noting: fires when it is noted, and all before it.
        """

        def forget(_: None) -> None:
            if message.n == self._newest:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._file, 0)
                self._size = 0

        noting.addCallback(forget)
        if self._size > LARGEST:
            await noting


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Shown]:
    """Open the file of a profile while a listener runs; arguments as for :class:`Shown`."""
    shown = Shown(folder)
    try:
        yield shown
    finally:
        shown.close()


def _line(message: Message) -> bytes:
    return f"{message.sender} {message.stream} {message.seq}".encode()
