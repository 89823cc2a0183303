"""What was sent and has no verdict yet: one stream, in order (SR1 section 5).

A message that only memory keeps gets its number in the stream when it is first written, not before:
until then it can be taken back without leaving a hole.  One that is journaled has its number before
it goes to disk, and from then on that number never means anything else; so has all that waits in
front of it.  It is written to the relay once the disk has it, and stays here until the relay's
verdict, across any number of connections.

``first .. cursor-1`` was written in this connection and is unanswered, ``cursor .. last`` before it
and has to be written again; behind that waits what was never written.

What has no verdict when the relay forgets the stream may have arrived: it is not sent again; its
sender is told ``unconfirmed``.
"""

# More than 400 lines: the numbers of one stream have one account, and everything here moves them.

from __future__ import annotations

import base64
import secrets
from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred

from securerelay.client.changes import Changes, Gathered
from securerelay.client.entry import NOBODY, Entry, Fate, Sent
from securerelay.client.journal import Journal
from securerelay.client.pace import FIRST_DELAY, Load, Pace
from securerelay.client.pen import Pen
from securerelay.client.rows import (
    ACCEPTED,
    DELIVERED,
    EXPIRED,
    REFUSED,
    UNCONFIRMED,
    Outgoing,
)
from securerelay.errors import Refused, RemoteError, SecureRelayError, TimedOut
from securerelay.protocol import messages


class Outbox:
    """The unanswered messages of one sending stream.

    Args:
        refused: called with an entry nobody waits for, and the code, when the relay refused it for
            good.
        jitter: spreads the waits before a new try; returns a factor.
        journal: where messages are kept that outlive this process; None to keep them in memory.
        owner: the owner of its streams; None for this program.
        pen: writes messages; None for bodies as they are given.

    Attributes:
        wake: called when there is more to write.
    """

    def __init__(
        self,
        refused: Callable[[Entry, str], None] = lambda entry, code: None,
        jitter: Callable[[], float] = lambda: 0.5 + secrets.randbelow(512) / 512,
        journal: Journal | None = None,
        owner: str | None = None,
        pen: Pen | None = None,
    ) -> None:
        self._refused = refused
        self._jitter = jitter
        self._changes: Changes | None = None
        if journal is not None:
            self._changes = Changes(
                journal,
                journal.own if owner is None else lambda: owner,
                self._complete,
                self._stored,
                self._not_stored,
                (pen or Pen()).pack,
            )
        self._pen = pen or Pen()
        self._pen.attach(self)
        self.wake: Callable[[], None] = lambda: None
        self._waiting: deque[Entry] = deque()
        self._flight: dict[int, Entry] = {}
        self._receipts: dict[int, Entry] = {}
        self._load = Load()
        self._connected = False
        self._new_stream()

    def _new_stream(self) -> None:
        self.stream = base64.urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=")
        self._first = self._cursor = 1
        self._last = self._numbered = self._uncertain = 0
        self._stored_to = self._cleared = self._clearing = 0
        self._opened = self._renewing = False
        self._pace = Pace(self._jitter)
        self._pen.begin(self.stream)

    def __len__(self) -> int:
        return len(self._load)

    @property
    def wants_stream(self) -> bool:
        """Whether a session has to open the stream; what was sent in it has news to come."""
        return bool(self._waiting or self._flight or self._last)

    @property
    def answered(self) -> int:
        """The seq up to which every verdict is known."""
        return self._first - 1

    @property
    def keyed(self) -> bool:
        """Whether a key names the one message of the stream, which stays where it is."""
        return False

    # -- the application's side

    def add(self, entry: Entry) -> None:
        """Put a message at the end of the queue, and into the journal unless it is live only."""
        self._waiting.append(entry)
        self._load.add(len(entry.body))
        if self._changes is not None and entry.ttl != 0:
            entry.journaled = True
            self._number()
            self._changes.keep(self.stream, entry)

    def pack(self, entry: Entry) -> Outgoing:
        """Return what is journaled of a message."""
        return self._pen.pack(entry)

    def adopt(self, entry: Entry, stream: str, seq: int) -> None:
        """Put a message at the end of the queue that is in the journal elsewhere.

        Args:
            entry: the message, with nothing of its number there.
            stream: where it is.
            seq: its number there.
        """
        assert self._changes is not None, "there is a journal"
        self._waiting.append(entry)
        self._load.add(len(entry.body))
        entry.journaled = True
        self._number()
        self._changes.move(self.stream, [self._pen.move(entry, stream, seq)])

    def _number(self) -> None:
        """Give all that waits its number."""
        at = len(self._waiting)
        while at and not self._waiting[at - 1].seq:
            at -= 1
        for later in range(at, len(self._waiting)):
            self._number_one(self._waiting[later])

    def _number_one(self, entry: Entry) -> None:
        self._numbered += 1
        entry.seq = self._numbered
        self._pen.number(entry)

    def withdraw(self, entry: Entry) -> Fate:
        """Stop waiting for a message, and take it back if only memory has it."""
        entry.done = None
        if self._receipts.pop(entry.seq, None) is entry:
            return "accepted"
        if entry.journaled:
            return "queued"
        if not entry.seq:
            self._waiting.remove(entry)
            self._load.remove(len(entry.body))
        elif entry.seq > self._last:
            self._blank(entry)
        else:
            return "sent"
        return "unsent"

    def _blank(self, entry: Entry) -> None:
        """Give a message up that has a number."""
        self._pen.gone(entry)
        self._load.remove(len(entry.body))
        self._load.add(0)
        entry.blank()

    def set_aside(self, to: bytes) -> list[tuple[Entry, Entry]]:
        """Take back all to one recipient that was not written in this connection.

        Args:
            to: the recipient.

        Returns:
            The messages in order, each with what takes its number, which must not be written before
            the disk knows where the message is.
        """
        taken = []
        for entry in (*map(self._flight.get, range(self._cursor, self._last + 1)), *self._waiting):
            if entry is None or entry.to != to or not entry.seq:
                continue
            filler = Entry(NOBODY, b"", 0, False, seq=entry.seq, pending=True)
            self._pen.gone(entry)
            self._pen.leaves(entry, self._may_be_seen(entry.seq))
            self._load.remove(len(entry.body))
            self._load.add(0)
            if entry.seq in self._flight:
                self._flight[entry.seq] = filler
            taken.append((entry, filler))
        fillers = {entry.seq: filler for entry, filler in taken}
        self._waiting = deque(fillers.get(entry.seq, entry) for entry in self._waiting)
        return taken

    def bind(self, entry: Entry) -> None:
        """Have it noted for whom a message is sealed, before it is written."""
        assert self._changes is not None, "there is a journal"
        assert entry.letter is not None, "it is sealed"
        entry.pending = True
        self._changes.bind(self.stream, entry, entry.letter.bound)

    def _may_be_seen(self, seq: int) -> bool:
        """Tell whether the relay may have seen a message that has no verdict."""
        return seq <= self._last

    def space(self) -> Deferred[None] | None:
        """See :class:`~securerelay.client.pace.Load`."""
        return self._load.space()

    def empty(self) -> Deferred[None] | None:
        """See :class:`~securerelay.client.pace.Load`."""
        return self._load.empty()

    def fail(self, error: Exception) -> None:
        """Tell everybody who waits that there will be no verdict."""
        entries = [*self._flight.values(), *self._waiting, *self._receipts.values()]
        self._flight.clear()
        self._waiting.clear()
        self._receipts.clear()
        for entry in entries:
            if entry.done is not None:
                entry.done.errback(error)
        self._load.fail(error)

    # -- the journal's side

    def _complete(self, gathered: Gathered) -> None:
        change = gathered.change
        change.answered = self._first - 1
        seqs = [one.seq for one in gathered.entries]
        seqs += [move.new for move in change.moves]
        change.last = max(seqs, default=0)
        # While there is a connection, what comes to disk is written at once.
        change.written = max(self._clearing, change.last if self._connected else 0)

    def _stored(self, gathered: Gathered) -> None:
        if gathered.change.stream.encode() == self.stream:
            self._stored_to = max(self._stored_to, gathered.change.last)
            self._cleared = max(self._cleared, gathered.change.written)
            self.wake()
        for entry in gathered.entries:
            if entry.until == "queued":
                self._answer(entry)

    def _not_stored(self, gathered: Gathered, error: SecureRelayError) -> None:
        for entry in gathered.entries:
            done, entry.done = entry.done, None
            self._blank(entry)
            if done is not None:
                done.errback(error)
            else:
                self._refused(entry, "not-stored")
        self.wake()

    # -- the session's side

    def opening(self) -> tuple[bytes, int]:
        """Begin a session: what to say in STREAM.

        Returns:
            The stream's id, and the seq up to which every verdict is known.
        """
        self._cursor = self._first
        self._pace.held = False
        # A stream in which nothing was ever written holds no surprise: messages may follow.
        self._opened = self._last == 0
        return self.stream, self._first - 1

    def connected(self, connected: bool) -> None:
        """A session begins, or has ended."""
        self._connected = connected
        self._opened = False

    def opened(self, last: int) -> bool:
        """Take the relay's answer to STREAM: the last seq that it consumed.

        Returns:
            False if the relay knows another history of this stream than we do: a new one is needed.
        """
        if not self._first - 1 <= last <= self._last:
            self._renewing = True
            self._uncertain = self._last
            self._cursor = self._first
            return False
        self._cursor = max(self._cursor, last + 1)
        self._opened = True
        return True

    def take(self, budget: int) -> list[bytes]:
        """Encode what may be written now.

        Args:
            budget: bytes after which to stop; a message is never cut.

        Returns:
            Encoded SEND messages in order.
        """
        out: list[bytes] = []
        if not self._opened or self._pace.held or self._renewing:
            return out
        flight = self._flight
        while budget > 0 and self._cursor - self._first < self._pace.window:
            again = self._cursor <= self._last
            if not again and not self._waiting:
                break
            entry = flight.get(self._cursor) if again else self._waiting[0]
            if entry is None:
                self._cursor += 1
                continue
            if not again and entry.journaled and entry.seq > self._cleared:
                self._clear()
                break
            if not entry.seq:
                self._number_one(entry)
            body = None if entry.pending else self._pen.body(entry)
            if body is None:
                break
            if not again:
                self._waiting.popleft()
                self._last = entry.seq
                flight[entry.seq] = entry
            self._cursor += 1
            data = messages.send(entry.seq, entry.to, entry.ttl, entry.receipt, body)
            budget -= len(data)
            out.append(data)
        return out

    def _clear(self) -> None:
        """Note on disk that what is there may be written, before it is."""
        if self._changes is not None and self._clearing < self._stored_to:
            self._clearing = self._stored_to
            self._changes.gather(self.stream, True)

    def ok(self, seq: int) -> None:
        """Every message up to this one that was not refused is accepted.

        Raises:
            RemoteError: for a seq that was never written.
        """
        if seq > self._last:
            raise RemoteError("protocol", f"OK {seq} after SEND {self._last}")
        self._pace.accepted(max(0, seq + 1 - self._first))
        if self._changes is not None and self._first <= seq:
            # Before whoever waits goes on, and asks the journal.
            self._changes.verdict(self.stream, ACCEPTED, self._first, seq)
        while self._first <= seq:
            entry = self._flight.pop(self._first, None)
            self._first += 1
            if entry is not None:
                self._accepted(entry)
        self._cursor = max(self._cursor, self._first)

    def _accepted(self, entry: Entry) -> None:
        if entry.done is not None:
            if entry.until == "delivered" and entry.delivered is None:
                self._receipts[entry.seq] = entry
            else:
                self._answer(entry)
        self._load.remove(len(entry.body))

    def _answer(self, entry: Entry) -> None:
        done, entry.done = entry.done, None
        if done is not None:
            done.callback(Sent(self.stream.decode(), entry.seq, entry.delivered))

    def no(self, seq: int, code: bytes) -> float | None:
        """One message was refused.

        Args:
            seq: its number.
            code: why.

        Returns:
            Seconds after which to call :meth:`resume`, if it is to be tried again; else None.
        """
        entry = self._flight.get(seq)
        if entry is None:
            return None
        if code in FIRST_DELAY:
            self._pen.doubt(entry, code.decode())
            return self._again(seq, code)
        del self._flight[seq]
        while self._first <= self._last and self._first not in self._flight:
            self._first += 1
        self._cursor = max(self._cursor, self._first)
        self._refuse(entry, code.decode("ascii", "replace"))
        self._load.remove(len(entry.body))
        self._renewing = self._renewing or self._pen.full
        return None

    def _refuse(self, entry: Entry, code: str) -> None:
        if entry.is_blank:
            return
        self._pen.gone(entry)
        if self._changes is not None and code != UNCONFIRMED:
            self._changes.verdict(self.stream, REFUSED, entry.seq, entry.seq, code=code)
        done, entry.done = entry.done, None
        if done is not None:
            done.errback(Refused(code, f"the relay refused a message to {entry.to.decode()}"))
        else:
            self._refused(entry, code)

    def _again(self, seq: int, code: bytes) -> float | None:
        if seq >= self._cursor:
            return None  # the gap behind a refusal that already turned us back
        self._cursor = seq
        self._renewing = self._renewing or code == b"new-stream"
        return self._pace.refused(code)

    def resume(self) -> None:
        """The wait that :meth:`no` asked for is over."""
        self._pace.resume()

    def got(self, seq: int, time: int) -> None:
        """A recipient acknowledged a message.

        Args:
            seq: the message.
            time: when, Unix milliseconds.
        """
        if self._changes is not None:
            self._changes.verdict(self.stream, DELIVERED, seq, seq, time)
        entry = self._receipts.pop(seq, None)
        if entry is not None:
            entry.delivered = time
            self._answer(entry)
        elif (entry := self._flight.get(seq)) is not None:
            entry.delivered = time

    def missed(self, seq: int, peer: str, code: str) -> None:
        """A recipient does not get a message: ``expired``, or a member whose ``mailbox-full``."""
        state = EXPIRED if code == "expired" else REFUSED
        if self._changes is not None:
            self._changes.verdict(self.stream, state, seq, seq, code=code, peer=peer)
        entry = self._receipts.pop(seq, None) if state == EXPIRED else None
        if entry is not None and entry.done is not None:
            entry.done.errback(Refused(code, f"{entry.to.decode()} did not come for the message"))

    @property
    def must_reopen(self) -> bool:
        """Whether the stream is spent and nothing of it awaits a verdict any more."""
        return self._renewing and self._cursor <= self._first

    def reopen(self) -> None:
        """Go on with a new stream; what certainly was not accepted is sent in it, in order."""
        old = self.stream
        flight = [self._flight[seq] for seq in sorted(self._flight)]
        lost = [entry for entry in flight if entry.seq <= self._uncertain]
        again = [*flight[len(lost) :], *self._waiting]
        self._flight.clear()
        self._waiting = deque(entry for entry in again if not entry.is_blank)
        for _ in range(len(again) - len(self._waiting)):
            self._load.remove(0)
        new_on_disk = self._changes.turn() if self._changes is not None else []
        orphans = list(self._receipts.values())
        self._receipts.clear()
        for entry in lost:
            self._refuse(entry, UNCONFIRMED)
            self._load.remove(len(entry.body))
        before = [(entry.seq, entry) for entry in self._waiting if entry not in new_on_disk]
        for entry in self._waiting:
            self._pen.leaves(entry, self._may_be_seen(entry.seq))
            entry.seq = 0
        self._new_stream()
        if self._changes is not None:
            self._number()
            moves = [
                self._pen.move(entry, old.decode(), seq) for seq, entry in before if entry.journaled
            ]
            unconfirmed = [entry.seq for entry in lost]
            self._changes.renew(old, self.stream, moves, unconfirmed, new_on_disk)
        for entry in orphans:
            done, entry.done = entry.done, None
            if done is not None:
                done.errback(TimedOut("the relay has the message, but no receipt will come"))
