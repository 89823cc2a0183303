"""A lane: work for the disk, done one piece after the other away from the reactor."""

from __future__ import annotations

import queue
import threading
import typing
from collections.abc import Callable

T = typing.TypeVar("T")


class Lane(typing.Protocol):
    """Where the journal has its work done."""

    def put(self, work: Callable[[], T], done: Callable[[T], None]) -> None:
        """Do a piece of work, which must not raise; its result is told in the reactor's thread."""

    def end(self) -> None:
        """Take no more."""


class ThreadLane:
    """A lane with a thread of its own, which begins with the first piece of work.

    Args:
        reactor: whose thread hears of the results.
    """

    def __init__(self, reactor: typing.Any) -> None:
        self._reactor = reactor
        self._queue: queue.SimpleQueue[tuple[Callable[[], typing.Any], typing.Any] | None] = (
            queue.SimpleQueue()
        )
        self._thread: threading.Thread | None = None

    def put(self, work: Callable[[], T], done: Callable[[T], None]) -> None:
        """See :class:`Lane`."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="securerelay state", daemon=True)
            self._thread.start()
        self._queue.put((work, done))

    def end(self) -> None:
        """See :class:`Lane`; the thread ends by itself."""
        self._queue.put(None)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            work, done = item
            self._reactor.callFromThread(done, work())


class InlineLane:
    """A lane that works at once in the caller's thread, so that a test knows the order of things.

    Attributes:
        held: while True, work only queues up; :meth:`release` does it.
    """

    def __init__(self) -> None:
        self.held = False
        self._waiting: list[tuple[Callable[[], typing.Any], typing.Any]] = []

    def put(self, work: Callable[[], T], done: Callable[[T], None]) -> None:
        """See :class:`Lane`."""
        self._waiting.append((work, done))
        if not self.held:
            self.release()

    def release(self) -> None:
        """Do what was put, and hold no longer."""
        self.held = False
        while self._waiting:
            work, done = self._waiting.pop(0)
            done(work())

    def end(self) -> None:
        """See :class:`Lane`."""
