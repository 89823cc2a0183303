"""The reactor's side of what a profile keeps on disk: work is gathered, and done in groups.

All that comes up in one turn of the reactor, and while the disk is busy with the group before, is
one transaction and one ``fsync``.  Verdicts can wait a little, since the relay repeats what was not
noted; they leave with whatever comes next.
"""

from __future__ import annotations

import pathlib
import time
import typing
from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from securerelay.client.lane import Lane
from securerelay.client.owners import Claim, Owners
from securerelay.client.state import Job, State
from securerelay.errors import SecureRelayError, StorageError

LATER = 0.1
"""Seconds that what is not urgent waits for company."""

T = typing.TypeVar("T")
Prepare = Callable[[], Job]
"""Called in the reactor's thread when the group is closed; makes the job."""


class Journal:
    """What a profile keeps on disk, as one program sees it.

    Args:
        folder: the profile's.
        lane: where the disk's work is done.
        clock: the reactor.
        now: Unix seconds.

    Raises:
        StorageError: if the profile's database cannot be used; it is left as it is.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        lane: Lane,
        clock: IReactorTime,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._state = State(folder)
        self._lane = lane
        self._clock = clock
        self._now = now
        self._due: list[tuple[Prepare, Deferred[typing.Any], bool]] = []
        self._timer: IDelayedCall | None = None
        self._busy = self._hurry = False
        self._idle: list[Deferred[None]] = []
        self._owner: tuple[str, Claim] | None = None
        self._closed: Deferred[None] | None = None
        self.owners = Owners(folder)

    def now(self) -> int:
        """Return the time, Unix milliseconds."""
        return int(self._now() * 1000)

    @property
    def owner(self) -> str:
        """Our name as an owner of streams; empty if we have none."""
        return self._owner[0] if self._owner else ""

    @property
    def closed(self) -> bool:
        """Whether nothing is taken any more."""
        return self._closed is not None

    def own(self) -> str:
        """Return our name as an owner of streams, whose lock we hold from now on.

        Raises:
            LocalError: if the profile's folder cannot be written.
        """
        if self._owner is None:
            self._owner = self.owners.new()
        return self._owner[0]

    # -- work

    def do(self, job: Callable[[State], T], write: bool = True) -> Deferred[T]:
        """Have something done as soon as the disk is free.

        Args:
            job: called in the lane with the state.
            write: whether it changes anything.

        Returns:
            What the job returned, once that is on disk.

        Raises:
            StorageError: through the Deferred, if the disk failed.
        """
        return self.prepare(lambda: job, write=write)

    def outside(self, work: Callable[[State], T]) -> Deferred[T]:
        """Have something done between two transactions, which must not raise.

        Raises:
            StorageError: through the Deferred, if nothing is taken any more.
        """
        waiting: Deferred[T] = Deferred()
        if self._closed is not None:
            waiting.errback(StorageError("the profile's state is closed"))
        else:
            self._lane.put(lambda: work(self._state), waiting.callback)
        return waiting

    def prepare(
        self, prepare: Callable[[], Callable[[State], T]], soon: bool = True, write: bool = True
    ) -> Deferred[T]:
        """Have something done that gathers until its group is closed.

        Args:
            prepare: makes the job when the group is closed.
            soon: whether that is at the end of this turn, or may be a little later.
            write: whether the job changes anything.
        """
        waiting: Deferred[T] = Deferred()
        if self._closed is not None:
            waiting.errback(StorageError("the profile's state is closed"))
            return waiting
        self._due.append((prepare, waiting, write))
        self.schedule(soon)
        return waiting

    def schedule(self, soon: bool) -> None:
        """Have what is due done, at the end of this turn or a little later."""
        if self._busy:
            self._hurry = self._hurry or soon
        elif self._timer is None:
            self._hurry = soon
            self._timer = self._clock.callLater(0 if soon else LATER, self._begin)
        elif soon and not self._hurry:
            self._hurry = True
            self._timer.reset(0)

    def _begin(self) -> None:
        self._timer = None
        self._hurry = False
        due, self._due = self._due, []
        if not due:
            self._rest()
            return
        jobs = [prepare() for prepare, _, _ in due]
        write = any(writes for _, _, writes in due)
        waiting = [one for _, one, _ in due]
        self._busy = True
        self._lane.put(
            lambda: self._state.run(jobs, write), lambda results: self._done(waiting, results)
        )

    def _done(self, waiting: list[Deferred[typing.Any]], results: list[typing.Any]) -> None:
        self._busy = False
        if self._due:
            # What came while the disk was busy has waited long enough, if it is urgent.
            self._timer = self._clock.callLater(0 if self._hurry else LATER, self._begin)
        for one, result in zip(waiting, results, strict=True):
            if isinstance(result, SecureRelayError):
                one.errback(result)
            else:
                one.callback(result)
        self._rest()

    def _rest(self) -> None:
        if not self._busy and not self._due:
            idle, self._idle = self._idle, []
            for one in idle:
                one.callback(None)

    # -- the end

    def flush(self) -> Deferred[None]:
        """Say when all that is due is on disk."""
        if not self._busy and not self._due:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._idle.append(waiting)
        self.schedule(True)
        return waiting

    def close(self, nothing_left: bool) -> Deferred[None]:
        """Finish what is due, and close the file.

        Args:
            nothing_left: whether our streams need nobody any more.
        """
        if self._closed is None:
            flushing = self.flush()
            self._closed = Deferred()
            flushing.addCallback(lambda _: self._end(nothing_left))
        closed: Deferred[None] = Deferred()

        def tell(result: None) -> None:
            closed.callback(None)

        self._closed.addCallback(tell)
        return closed

    def _end(self, nothing_left: bool) -> None:
        assert self._closed is not None, "only close() ends"
        self._lane.put(self._state.close, self._closed.callback)
        self._lane.end()
        if self._owner is not None:
            self._owner[1].release(remove=nothing_left)
