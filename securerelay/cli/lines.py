"""Standard input for a program that must not wait for it.

A thread of its own reads, one block each time somebody asks.  That serves files, pipes and
terminals alike: epoll takes no regular file, and ``StandardIO`` makes a terminal non-blocking for
everybody who shares it, our own output included.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from twisted.internet.defer import Deferred

from securerelay.cli.exits import Failure

BLOCK = 65536
LONGEST = 16 << 20
"""Bytes of a line; relays take less by default."""


class Input:
    """A file descriptor, read by blocks or by lines.

    Args:
        reactor: whose thread gets what was read.
        descriptor: what to read from.
    """

    def __init__(self, reactor: Any, descriptor: int = 0) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self._wanted = threading.Semaphore(0)
        self._thread: threading.Thread | None = None
        self._reading = False
        self._waiting: Deferred[None] | None = None
        self._held = bytearray()
        self._ended = False

    async def line(self) -> bytes | None:
        """Read a line.

        Returns:
            It, without its line feed; None at the end of the input.

        Raises:
            Failure: ``too-large`` if the line does not end.
        """
        searched = 0
        while True:
            end = self._held.find(b"\n", searched)
            if end >= 0:
                line = bytes(self._held[:end])
                del self._held[: end + 1]
                return line
            searched = len(self._held)
            if self._ended:
                line, self._held = bytes(self._held), bytearray()
                return line or None
            if searched > LONGEST:
                raise Failure("too-large", f"a line of the input is longer than {LONGEST} bytes")
            await self._more()

    def _more(self) -> Deferred[None]:
        def forget(_: Deferred[None]) -> None:
            self._waiting = None

        self._waiting = Deferred(forget)
        if not self._reading:  # a read may be under way for somebody who was cancelled
            self._reading = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._read, name="stdin", daemon=True)
                self._thread.start()
            self._wanted.release()
        return self._waiting

    def _read(self) -> None:
        block = b"-"
        while block:
            self._wanted.acquire()
            try:
                block = os.read(self._descriptor, BLOCK)
            except OSError:
                block = b""  # closed before we came, or a terminal that went away
            self._reactor.callFromThread(self._received, block)

    def _received(self, block: bytes) -> None:
        self._reading = False
        self._held += block
        self._ended = self._ended or not block
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(None)
