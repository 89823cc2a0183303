"""The way into the store: one batch at a time, and everything that came meanwhile goes in the next.

A batch is one transaction and one sync, so a busy relay writes many messages for the price of one,
and a lone message waits for nobody.  A message that was handed to a present listener is *patient*:
it waits a moment for the acknowledgement, and if that comes before its batch is taken it is never
written.  A batch holds what came before the last message whose time has come; who came after that
keeps his patience.

Acknowledgements and receipts take the same way, behind the batch that holds what they speak of.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from securerelay import failpoints
from securerelay.errors import StorageError
from securerelay.relay.entry import BOUND, TAKEN, Entry
from securerelay.relay.logging import EventLog
from securerelay.store.interface import Store
from securerelay.store.rows import Append, Duplicate, Receipt, Refuse, Rejected, Verdict

if TYPE_CHECKING:
    from securerelay.relay.mailbox import Mailbox
    from securerelay.relay.session import Session
    from securerelay.relay.stream import Stream

PATIENCE = 0.01
"""Seconds that a message waits for the acknowledgement of a listener who has it already."""
PATIENCE_EACH = 0.001
MOST_PATIENCE = 0.25
"""A message to many waits longer, for each who has it, for they cannot all answer at once."""

MOST_BYTES = 16 << 20
MOST_MESSAGES = 16_384
"""What may wait for the next batch before senders are not read any more."""


_TICK = 1e-6
"""Seconds by which a timer may be early, for what it counts with are no exact numbers."""


class Journal:
    """What is on its way to the store.

    Args:
        reactor: for the patience.
        store: where.
        log: where failures are told.
    """

    def __init__(self, reactor: IReactorTime, store: Store, log: EventLog) -> None:
        self._reactor = reactor
        self._store = store
        self._log = log
        # When each must be written, what, how many messages and bytes; never before what came
        # before it.
        self._queue: list[tuple[float, Sequence[Entry], int, int]] = []
        self._count = self._bytes = 0
        self._acks: dict[Mailbox, int] = {}
        self._forgetting: dict[Mailbox, int] = {}
        self._kept: list[Receipt] = []
        self._told: list[Receipt] = []
        self._due = self._all_due = inf
        self._busy = False
        self._call: IDelayedCall | None = None
        self._held: set[Session] = set()
        self._idle: list[Deferred[None]] = []
        self.failed = False

    @property
    def depth(self) -> int:
        """How many messages wait for the next batch."""
        return self._count

    def add(self, entries: Sequence[Entry], patience: float = 0.0) -> None:
        """Have entries of one stream written with the next batch.

        Args:
            entries: messages, or a refusal or advance; at least one.
            patience: seconds within which their recipients, who have them already, are expected to
                acknowledge them.
        """
        count = entries[-1].last - entries[0].seq + 1
        size = sum([entry.size for entry in entries])
        self._queue.append((self._schedule(patience), entries, count, size))
        self._count += count
        self._bytes += size
        if self._bytes > MOST_BYTES or self._count > MOST_MESSAGES:
            session = entries[0].stream.session
            if session is not None and session not in self._held:
                self._held.add(session)
                session.hold_journal(True)

    def hurry(self) -> None:
        """Write everything soon, for nobody's acknowledgement is waited for any more."""
        self._schedule_all(PATIENCE)

    def ack(self, mailbox: Mailbox, upto: int) -> None:
        """Have the store forget what a recipient has, once it holds all of it."""
        self._acks[mailbox] = upto
        self._schedule_all()

    def forgets(self, mailbox: Mailbox) -> bool:
        """Tell whether the store has yet to forget what a recipient has."""
        return mailbox in self._acks or mailbox in self._forgetting

    def keep(self, receipt: Receipt) -> None:
        """Have the store keep a receipt until its sender opens the stream again."""
        self._kept.append(receipt)
        self._schedule_all()

    def told(self, receipt: Receipt) -> None:
        """Have the store forget a receipt, for the sender got it."""
        self._told.append(receipt)
        self._schedule_all()

    def idle(self) -> Deferred[None]:
        """Tell when nothing is on its way any more."""
        waiter: Deferred[None] = Deferred()
        self._idle.append(waiter)
        self._schedule_all()
        return waiter

    def _schedule_all(self, patience: float = 0.0) -> None:
        """Write everything within so many seconds, whatever its own patience."""
        self._all_due = min(self._all_due, self._schedule(patience))

    def _schedule(self, patience: float = 0.0) -> float:
        """Begin within so many seconds, or when the batch that is under way is done.

        Returns:
            When that is, by the reactor's clock.
        """
        due = self._reactor.seconds() + patience
        if due < self._due:
            self._due = due
            if not self._busy:
                self._set()
        return due

    def _set(self) -> None:
        wait = max(0.0, self._due - self._reactor.seconds())
        if self._call is None:
            self._call = self._reactor.callLater(wait, self._begin)
        else:
            self._call.reset(wait)

    def _begin(self) -> None:
        self._call = None
        self._forget_settled()
        ripe = self._ripe()
        if not (ripe or self._acks or self._kept or self._told or self._idle):
            self._wait_on()  # it has all been acknowledged, or what is left came later
            return
        self._busy = True
        writing = Deferred.fromCoroutine(self._write(ripe))
        writing.addErrback(lambda failure: self._log.failure("journal.failed", failure))
        writing.addBoth(self._done)

    def _done(self, _: object) -> None:
        self._busy = False
        self._forgetting = {}
        if self._queue or self._acks or self._kept or self._told:
            self._set()
        else:
            # Somebody may have asked for a batch meanwhile for which there is nothing any more.
            self._due = inf
            waiters, self._idle = self._idle, []
            for waiter in waiters:
                waiter.callback(None)

    def _forget_settled(self) -> None:
        """Drop what was acknowledged in time."""
        queue, self._queue = self._queue, []
        for waiting in queue:
            _, entries, count, size = waiting
            if any(entry.state <= BOUND for entry in entries):
                self._queue.append(waiting)
            else:
                self._count -= count
                self._bytes -= size

    def _ripe(self) -> int:
        """Tell how many of the queue are to be written now: up to the last whose time has come."""
        now = self._reactor.seconds() + _TICK
        if self._all_due <= now:
            self._all_due = inf
            return len(self._queue)
        due = [place for place, (due, *_) in enumerate(self._queue, 1) if due <= now]
        return due[-1] if due else 0

    def _wait_on(self) -> None:
        """Begin again when the time of something comes."""
        self._due = min((due for due, *_ in self._queue), default=inf)
        self._due = min(self._due, self._all_due)
        if self._due < inf and not self._busy:
            self._set()
        if self._held and self._bytes <= MOST_BYTES and self._count <= MOST_MESSAGES:
            held, self._held = self._held, set()
            for session in held:
                session.hold_journal(False)

    async def _write(self, ripe: int) -> None:
        """Take what is first in the queue, and see it through."""
        batch, rows = self._take(ripe)
        self._forgetting, self._acks = self._acks, {}
        kept, self._kept = self._kept, []
        told, self._told = self._told, []
        # All is asked for at once: a store that writes in the order asked can sync it together.
        forgotten: list[Deferred[None]] = []
        for mailbox, upto in self._forgetting.items():
            forgetting = self._store.ack(mailbox.text, upto, mailbox.peer.router.now())
            forgotten.append(forgetting.addCallbacks(mailbox.freed, self._unwritten))
        if kept:
            forgotten.append(self._store.receipts_keep(kept).addErrback(self._unwritten))
        if told:
            forgotten.append(self._store.receipts_told(told).addErrback(self._unwritten))
        if batch:
            await self._append(batch, rows)
        for answer in forgotten:
            await answer

    def _take(self, ripe: int) -> tuple[list[Entry], list[Append | Refuse]]:
        taken = self._queue[:ripe]
        del self._queue[:ripe]
        self._count -= sum(count for _, _, count, _ in taken)
        self._bytes -= sum(size for *_, size in taken)
        self._wait_on()
        batch = [entry for _, entries, *_ in taken for entry in entries if entry.state <= BOUND]
        for entry in batch:
            entry.state = TAKEN
        return batch, [entry.row() for entry in batch]

    async def _append(self, batch: list[Entry], rows: list[Append | Refuse]) -> None:
        try:
            verdicts: list[Verdict] = await self._store.append(rows)
            failpoints.reach("after-commit-before-ok")
        except StorageError as error:
            if not self.failed:
                self.failed = True
                self._log.error("store.refuses", reason=error.message)
            self._reject(batch, b"storage-full")
            return
        except Exception:
            self._log.failure("store.failed", Failure())
            self._reject(batch, b"busy")
            return
        if self.failed:
            self.failed = False
            self._log.info("store.recovered")
        moved: dict[Stream, None] = {}
        reached: dict[Mailbox, int] = {}
        for entry, verdict in zip(batch, verdicts, strict=True):
            if entry.state != TAKEN:
                continue
            if isinstance(verdict, Rejected):
                entry.stream.advance()  # what went before it counts
                entry.rejected(verdict.code.encode("ascii"))
            else:
                entry.committed(reached, verdict.code if isinstance(verdict, Duplicate) else None)
                moved[entry.stream] = None
        for mailbox, n in reached.items():
            mailbox.committed(n)
        for stream in moved:
            stream.advance()

    def _reject(self, batch: list[Entry], code: bytes) -> None:
        for entry in batch:
            # The first of a stream takes those behind it along.
            if entry.state == TAKEN:
                entry.rejected(code)

    def _unwritten(self, failure: Failure) -> None:
        """An acknowledgement got lost: the mail comes again, and its recipient knows it."""
        failure.trap(StorageError)
