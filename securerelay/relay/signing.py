"""A few threads of our own for what costs milliseconds: RSA signatures and certificates.

The reactor's own pool also resolves names and must not be filled by strangers' handshakes, so
signing has a small pool with a bounded queue.  A signature frees the interpreter lock, so the
reactor goes on meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from securerelay.errors import RemoteError
from securerelay.relay.limits import CpuShare

T = TypeVar("T")


class Runs(Protocol):
    """Runs a function somewhere and answers later; :class:`SigningPool`, or a test's own."""

    def run(self, work: Callable[..., T], *args: Any) -> Deferred[T]:
        """Run ``work(*args)`` and answer with its result."""


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
        pool: ThreadPool | None = None,
    ):
        self._reactor = reactor
        self._most = threads + queue
        self._cpu = cpu
        if pool is None:
            pool = ThreadPool(threads, threads, name="securerelay-signing")
        self._pool = pool
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
        spent = 0.0

        def timed() -> T:
            nonlocal spent
            begun = time.thread_time()
            try:
                return work(*args)
            finally:
                spent = time.thread_time() - begun

        def account(result: Any) -> Any:
            self.pending -= 1
            if self._cpu is not None:
                self._cpu.charge(spent)
            return result

        answer: Deferred[T] = deferToThreadPool(self._reactor, self._pool, timed)
        return answer.addBoth(account)
