"""How much a sender may have on the way, and when it tries again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred

CAPACITY = 4096
"""Messages held before those who send are asked to wait."""
CAPACITY_BYTES = 16 << 20
"""Bytes of bodies held before those who send are asked to wait."""
WINDOW = 1024
"""Messages written and unanswered, at most."""
SMALLEST_WINDOW = 16
LONGEST_DELAY = 30.0

FIRST_DELAY = {
    b"gap": 0.05,
    b"rate": 0.1,
    b"busy": 0.2,
    b"room-changed": 0.2,
    b"storage-full": 1.0,
    b"new-stream": 0.05,
}
"""The refusals that mean "try again", with the seconds to wait the first time; each next wait is
twice as long.
"""


class Pace:
    """The window of one stream, and its waits after refusals.

    Args:
        jitter: spreads the waits; returns a factor.
    """

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._delay = 0.0
        self.window = WINDOW
        self.held = False
        """Whether nothing is written until :meth:`resume`."""

    def accepted(self, count: int) -> None:
        """Messages were accepted: go faster again."""
        self._delay = 0.0
        self.window = min(WINDOW, self.window + count)

    def refused(self, code: bytes) -> float | None:
        """A message was refused for now: go slower.

        Returns:
            Seconds after which to call :meth:`resume`; None if that was asked for already.
        """
        self.window = max(SMALLEST_WINDOW, self.window // 2)
        if self.held:
            return None
        self.held = True
        self._delay = min(max(self._delay * 2, FIRST_DELAY[code]), LONGEST_DELAY)
        return self._delay * self._jitter()

    def resume(self) -> None:
        """The wait is over."""
        self.held = False


class Load:
    """The messages held in memory, and those who wait for them to become fewer."""

    def __init__(self) -> None:
        self._count = self._bytes = 0
        self._for_space: deque[Deferred[None]] = deque()
        self._for_empty: list[Deferred[None]] = []

    def __len__(self) -> int:
        return self._count

    def add(self, size: int) -> None:
        """A message came.

        Args:
            size: bytes of its body.
        """
        self._count += 1
        self._bytes += size

    def remove(self, size: int) -> None:
        """A message is gone."""
        self._count -= 1
        self._bytes -= size
        while self._for_space and not self._full:
            self._for_space.popleft().callback(None)
        if self._for_empty and not self._count:
            waiters, self._for_empty = self._for_empty, []
            for waiter in waiters:
                waiter.callback(None)

    @property
    def _full(self) -> bool:
        return self._count > CAPACITY or self._bytes > CAPACITY_BYTES

    def space(self) -> Deferred[None] | None:
        """Say when there is room for more; None if there is room now."""
        if not self._full:
            return None
        waiter: Deferred[None] = Deferred(self._for_space.remove)
        self._for_space.append(waiter)
        return waiter

    def empty(self) -> Deferred[None] | None:
        """Say when there is nothing left; None if that is so now."""
        if not self._count:
            return None
        waiter: Deferred[None] = Deferred(self._for_empty.remove)
        self._for_empty.append(waiter)
        return waiter

    def fail(self, error: Exception) -> None:
        """Everything is gone, and whoever waits is told why."""
        self._count = self._bytes = 0
        waiters: list[Deferred[None]] = [*self._for_space, *self._for_empty]
        self._for_space.clear()
        self._for_empty.clear()
        for waiter in waiters:
            waiter.errback(error)
