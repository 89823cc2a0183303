"""Lanes: each does what it is given, in order, away from the reactor.

A lane hands its work over in groups: everything that came in while the last group was being done.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

Job = TypeVar("Job", contravariant=True)
Item = TypeVar("Item")


_GROUP = 4096
"""At most so many jobs in a group."""


class Lane(Protocol[Job]):
    """Where jobs queue up."""

    def put(self, job: Job) -> None:
        """Queue a job; from the reactor thread."""

    def end(self, done: Callable[[], None]) -> None:
        """Take no more, finish what was put, and then call ``done`` in the lane."""


class NewLane(Protocol):
    """Makes a lane; a class of lanes is one."""

    def __call__(self, work: Callable[[list[Any]], None], name: str) -> Lane[Any]:
        """Make a lane.

        Args:
            work: called with one group of jobs after the other; must not raise.
            name: of the lane, for whoever lists threads.
        """


@dataclass(frozen=True, slots=True)
class _End:
    done: Callable[[], None]


class ThreadLane(Generic[Item]):
    """A lane with a thread of its own; arguments as in :class:`NewLane`."""

    def __init__(self, work: Callable[[list[Item]], None], name: str) -> None:
        self._work = work
        self._queue: queue.SimpleQueue[Item | _End] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=f"securerelay {name}", daemon=True).start()

    def put(self, job: Item) -> None:
        """Queue a job."""
        self._queue.put(job)

    def end(self, done: Callable[[], None]) -> None:
        """Let the thread end after what was put."""
        self._queue.put(_End(done))

    def _run(self) -> None:
        end = None
        while end is None:
            group = [self._queue.get()]
            while len(group) < _GROUP and not self._queue.empty():
                group.append(self._queue.get())
            if isinstance(group[-1], _End):
                end = group[-1]
            jobs = [job for job in group if not isinstance(job, _End)]
            if jobs:
                self._work(jobs)
        end.done()


class InlineLane(Generic[Item]):
    """A lane that works at once in the caller's thread, so that a test knows the order of things.

    Attributes:
        held: while True jobs only queue up; :meth:`release` does them as one group.
    """

    def __init__(self, work: Callable[[list[Item]], None], name: str = "") -> None:
        self._work = work
        self._jobs: list[Item] = []
        self.held = False

    def put(self, job: Item) -> None:
        """Do the job, or keep it while held."""
        self._jobs.append(job)
        if not self.held:
            self.release()

    def release(self) -> None:
        """Do what was kept as one group, and hold no longer."""
        self.held = False
        jobs, self._jobs = self._jobs, []
        if jobs:
            self._work(jobs)

    def end(self, done: Callable[[], None]) -> None:
        """Do what was kept."""
        self.release()
        done()
