"""A few threads of our own for what costs milliseconds: RSA signatures and certificates.

The reactor's own pool also resolves names and must not be filled by strangers' handshakes, so
signing has a few threads and a bounded queue.  A signature frees the interpreter lock, so the
reactor goes on meanwhile.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

from securerelay.errors import RemoteError
from securerelay.relay.limits import CpuShare

T = TypeVar("T")


class Runs(Protocol):
    """Runs a function somewhere and answers later; :class:`SigningPool`, or a test's own."""

    def run(self, work: Callable[..., T], *args: Any) -> Deferred[T]:
        """Run ``work(*args)`` and answer with its result."""


class Threads:
    """Threads that share one queue: less at each turn than Twisted's pool, which can grow.

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._count = count
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin; what is made here did not exist before the process became a daemon."""
        for number in range(self._count):
            name = f"securerelay signing {number}"
            thread = threading.Thread(target=self._work, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def put(self, job: Callable[[], None]) -> None:
        """Have a job done; it must not raise."""
        self._queue.put(job)

    def stop(self) -> None:
        """Finish what was put, and wait for that."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            job()


class SigningPool:
    """A bounded pool of threads.

    Args:
        reactor: where the answers arrive.
        threads: how many sign at once.
        queue: how many may wait; one more is refused as ``busy``.
        cpu: the account to which the threads' CPU time is charged, if any.
        pool: the threads, if not of its own.
    """

    def __init__(
        self,
        reactor: IReactorFromThreads,
        threads: int = 2,
        queue: int = 512,
        cpu: CpuShare | None = None,
        pool: Threads | None = None,
    ):
        self._reactor = reactor
        self._most = threads + queue
        self._cpu = cpu
        self._pool = Threads(threads) if pool is None else pool
        self.pending = 0

    def start(self) -> None:
        """Start the threads; once the process is a daemon, for threads do not survive a fork."""
        self._pool.start()

    def stop(self) -> None:
        """Finish what was begun and end the threads."""
        self._pool.stop()

    def run(self, work: Callable[..., T], *args: Any) -> Deferred[T]:
        """Run a function in one of the threads.

        Args:
            work: what to run; it must not touch anything of the reactor's.
            args: its arguments.

        Returns:
            A Deferred with its result or failure; ``RemoteError("busy")`` when too many wait
            already.
        """
        if self.pending >= self._most:
            return fail(RemoteError("busy", "too many signatures are waited for"))
        self.pending += 1
        answer: Deferred[T] = Deferred()

        def job() -> None:
            begun = time.thread_time()
            try:
                result: T | Failure = work(*args)
            except Exception:
                result = Failure()
            spent = time.thread_time() - begun
            self._reactor.callFromThread(self._done, answer, result, spent)

        self._pool.put(job)
        return answer

    def _done(self, answer: Deferred[T], result: T | Failure, spent: float) -> None:
        self.pending -= 1
        if self._cpu is not None:
            self._cpu.charge(spent)
        answer.callback(result)
