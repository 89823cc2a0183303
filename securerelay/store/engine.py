"""The threads and connections behind the store in SQLite: one that writes, one that reads.

That exactly one connection writes and checkpoints is a rule, not a habit: many versions of SQLite
can damage a log that two connections reset at once.  The reading connection is opened read-only, so
it does neither.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from securerelay.files import FolderLock
from securerelay.store import database
from securerelay.store.faults import explain
from securerelay.store.folder import Ballast
from securerelay.store.interface import StorageFull, StorageStopped
from securerelay.store.lane import Lane, NewLane
from securerelay.store.ledger import Ledger
from securerelay.store.rows import Append, Durability, Refuse, Verdict
from securerelay.store.writer import Answers, Change, Work, Writer

T = TypeVar("T")
Call = Callable[..., object]

FILE = "relay.sqlite"
"""What the database is called in the data folder."""

_MOST_WAITING = 64 << 20
"""How many bytes of messages may wait for the writer."""


@dataclass(frozen=True, slots=True)
class _Opened:
    db: sqlite3.Connection
    reader: sqlite3.Connection
    writer: Writer
    durability: Durability


class Engine:
    """Runs work on the database away from the reactor, and answers in it.

    Args:
        folder: the data folder.
        call: runs a function with its arguments in the reactor thread, as
            ``reactor.callFromThread``.
        lane: makes the lanes.
        lock: the folder's lock, already held or not.
        ledger: what the writing lane remembers.
        failpoint: called with the name of each place where a test may want the process to die.
        on_stop: called once, in the reactor thread, if the disk fails.
    """

    def __init__(
        self,
        folder: Path,
        call: Call,
        lane: NewLane,
        lock: FolderLock,
        ledger: Ledger,
        failpoint: Callable[[str], None],
        on_stop: Callable[[StorageStopped], None],
    ) -> None:
        self.folder = folder
        self._call = call
        self._new_lane = lane
        self._lock = lock
        self._ledger = ledger
        self._failpoint = failpoint
        self._on_stop = on_stop
        self._waiting = 0
        self._told = False
        self._opened: _Opened | None = None
        self._writing: Lane[Change] | None = None
        self._reading: Lane[Change] | None = None

    def aside(self, work: Callable[[], T], name: str) -> Deferred[T]:
        """Run something that takes long in a lane of its own."""
        answer: Deferred[T] = Deferred()

        def run(_: list[None]) -> None:
            try:
                result: T | Failure = work()
            except Exception:
                result = Failure()
            self._call(_fire, answer, result)

        lane = self._new_lane(run, name)
        lane.put(None)
        lane.end(_nothing)
        return answer

    def open(self) -> Deferred[Durability]:
        """Lock, check, bring forward and open; see ``Store.open``."""
        return self.aside(self._open, "open").addCallback(self._start)

    def _open(self) -> _Opened:
        self._lock.acquire()
        self._lock.tell()
        try:
            path = self.folder / FILE
            db, created = database.open_database(path)
            try:
                epoch = database.next_epoch(db)
                reader = database.connect(path, "mode=ro")
            except sqlite3.Error as error:
                db.close()
                raise explain(error, self.folder) from None
        except BaseException:
            self._lock.release()
            raise
        self._ledger.begin(epoch)
        ballast = Ballast(self.folder)
        writer = Writer(db, self.folder, ballast, self._ledger, self._failpoint)
        durability = Durability(epoch, True, f"sqlite {sqlite3.sqlite_version}", created)
        return _Opened(db, reader, writer, durability)

    def _start(self, opened: _Opened) -> Durability:
        self._opened = opened
        self._writing = self._new_lane(partial(self._write, opened.writer), "write")
        self._reading = self._new_lane(partial(self._read, opened.reader), "read")
        return opened.durability

    def close(self) -> Deferred[None]:
        """Finish what was asked, then close; nothing happens if it is not open."""
        answer: Deferred[None] = Deferred()
        opened, writing, reading = self._opened, self._writing, self._reading
        self._opened = self._writing = self._reading = None
        if opened is None or writing is None or reading is None:
            self._lock.release()
            answer.callback(None)
            return answer

        # The writing connection goes last, for the last one out checkpoints.
        def read() -> None:
            opened.reader.close()
            writing.end(wrote)

        def wrote() -> None:
            opened.db.close()
            self._lock.release()
            self._call(answer.callback, None)

        reading.end(read)
        return answer

    def write(self, work: Work, *, frees: bool = False) -> Deferred[Any]:
        """Have a change made; ``frees`` says that it makes room."""
        return self._put(Change(work, Deferred(), frees))

    def append(self, items: Sequence[Append | Refuse]) -> Deferred[list[Verdict]]:
        """Have messages and refusals appended."""
        size = sum([sum(map(len, item.bodies)) for item in items if isinstance(item, Append)])
        if size and self._waiting + size > _MOST_WAITING:
            return fail(StorageFull("too much is waiting for the disk"))
        return self._put(Change(_nothing, Deferred(), size=size, items=items))

    def _put(self, change: Change) -> Deferred[Any]:
        if self._writing is None:
            return fail(StorageStopped("the store is closed"))
        self._waiting += change.size
        self._writing.put(change)
        return change.answer

    def read(self, work: Work) -> Deferred[Any]:
        """Have something looked up, all of it in one state of the database."""
        if self._reading is None:
            return fail(StorageStopped("the store is closed"))
        change = Change(work, Deferred())
        self._reading.put(change)
        return change.answer

    def _write(self, writer: Writer, changes: list[Change]) -> None:
        answers = writer.commit(changes)
        self._call(self._answer, answers, writer.stopped)

    def _read(self, db: sqlite3.Connection, changes: list[Change]) -> None:
        answers: Answers = []
        for change in changes:
            try:
                db.execute("BEGIN")
                try:
                    answers.append((change, change.work(db)))
                finally:
                    db.execute("ROLLBACK")
            except sqlite3.Error as error:
                answers.append((change, Failure(explain(error, self.folder))))
            except Exception:
                answers.append((change, Failure()))
        self._call(self._answer, answers, None)

    def _answer(self, answers: Answers, stopped: StorageStopped | None) -> None:
        if stopped is not None and not self._told:
            self._told = True
            self._on_stop(stopped)
        for change, result in answers:
            self._waiting -= change.size
            _fire(change.answer, result)


def _fire(answer: Deferred[Any], result: Any) -> None:
    """Answer with a result, or with a failure."""
    if isinstance(result, Failure):
        answer.errback(result)
    else:
        answer.callback(result)


def _nothing(*_: object) -> None:
    """Nothing is left to do."""
