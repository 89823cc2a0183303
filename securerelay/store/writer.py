"""The one who writes: many changes, one transaction, one sync.

Everything that was asked while the last transaction was being committed goes into the next one, so
nobody waits for a timer and the cost of a sync is shared by all who wait.  If a group fails, each
change is tried again by itself, so that a bad one, or one that finds no room, fails alone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from securerelay.store.faults import explain
from securerelay.store.folder import Ballast
from securerelay.store.interface import StorageFull, StorageStopped
from securerelay.store.ledger import Ledger
from securerelay.store.sql_mailboxes import append

Work = Callable[[sqlite3.Connection], Any]

_RESERVE = 8 << 20
"""After the ballast was given up: how many bytes must be free inside the file before it takes
messages again.
"""


@dataclass(frozen=True, slots=True)
class Change:
    """One call's part of a transaction.

    Attributes:
        work: makes the change; must refuse before it writes, and may be called again after a
            rollback.
        answer: fired with what ``work`` returned, after the commit.
        frees: True if it makes room, and may therefore use the last of the disk.
        size: about how many bytes it holds in memory while it waits.
        items: messages and refusals to append, if that is the change; then ``work`` is not called.
    """

    work: Work
    answer: Deferred[Any]
    frees: bool = False
    size: int = 0
    items: Sequence[Any] | None = None


Answers = list[tuple[Change, Any]]


class Writer:
    """Commits groups of changes; lives in the writing lane.

    Args:
        db: the writing connection.
        folder: where the database lies, for messages.
        ballast: what to give up on a full disk.
        ledger: what is remembered between transactions.
        failpoint: called with the name of each place where a test may want the process to die.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        folder: Path,
        ballast: Ballast,
        ledger: Ledger,
        failpoint: Callable[[str], None],
    ) -> None:
        self._db = db
        self._folder = folder
        self._ballast = ballast
        self._ledger = ledger
        self._failpoint = failpoint
        self._low = not ballast.reserve()
        self.stopped: StorageStopped | None = None

    def commit(self, changes: list[Change]) -> Answers:
        """Make changes durable.

        Args:
            changes: in the order asked; they happen in this order.

        Returns:
            Each change with its result or a ``Failure``; nothing was fired yet.
        """
        try:
            return self._transaction(changes)
        except sqlite3.Error as error:
            meaning = explain(error, self._folder)
            if isinstance(meaning, StorageStopped):
                # What a failed sync left behind is unknown, and a second one may succeed falsely.
                self.stopped = meaning
            elif isinstance(meaning, StorageFull) and self._gave_way(changes):
                return self.commit(changes)
            if self.stopped is not None or len(changes) == 1:
                return [(change, Failure(meaning)) for change in changes]
        except _HalfDone as error:
            if len(changes) == 1:
                return [(changes[0], error.failure)]
        return [answer for change in changes for answer in self.commit([change])]

    def _transaction(self, changes: list[Change]) -> Answers:
        db = self._db
        answers: Answers = []
        committed = False
        db.execute("BEGIN IMMEDIATE")
        try:
            for appends, run in groupby(changes, lambda change: change.items is not None):
                answers += (self._append_all if appends else self._run_all)(list(run))
            self._failpoint("before-commit")
            db.execute("COMMIT")
            committed = True
        finally:
            self._ledger.settle(committed)
            if db.in_transaction:
                db.execute("ROLLBACK")
        self._failpoint("after-commit")
        return answers

    def _run_all(self, changes: list[Change]) -> Answers:
        return [(change, self._run(change.work, change.frees)) for change in changes]

    def _append_all(self, changes: list[Change]) -> Answers:
        """Append what stands together as if it were one batch, for rows cost less by the dozen."""
        items = [item for change in changes for item in change.items or ()]
        verdicts = self._run(lambda db: append(db, self._ledger, items), frees=False)
        if isinstance(verdicts, Failure):
            return [(change, verdicts) for change in changes]
        given = iter(verdicts)
        return [(change, list(islice(given, len(change.items or ())))) for change in changes]

    def _run(self, work: Work, frees: bool) -> Any:
        if self.stopped is not None:
            return Failure(self.stopped)
        if self._low and not frees and not self._has_room():
            return Failure(StorageFull(f"no room left in {self._folder}"))
        before = self._db.total_changes
        try:
            return work(self._db)
        except sqlite3.Error:
            raise
        except Exception:
            failure = Failure()
            if self._db.total_changes != before:
                raise _HalfDone(failure) from None
            return failure

    def _gave_way(self, changes: list[Change]) -> bool:
        """Give up the ballast for one change that found no room to make room."""
        if len(changes) == 1 and changes[0].frees and self._ballast.release():
            self._low = True
            return True
        return False

    def _has_room(self) -> bool:
        if self._ballast.reserve():
            self._low = False
            return True
        (pages,) = self._db.execute("PRAGMA freelist_count").fetchone()
        (size,) = self._db.execute("PRAGMA page_size").fetchone()
        return bool(pages * size >= _RESERVE)


class _HalfDone(Exception):
    """A change raised after it had written, so that its transaction cannot be kept."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure
