"""What was sent and has no verdict yet: one stream, in order (SR1 section 5).

A message gets its number in the stream when it is first written, not before: until then it can be
taken back without leaving a hole.  From then on it stays here until the relay's verdict, across any
number of connections.

``first .. cursor-1`` was written in this connection and is unanswered; ``cursor .. last`` was
written before and has to be written again; what waits behind has no number yet.
"""

from __future__ import annotations

import base64
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.defer import Deferred

from securerelay.errors import Refused, RemoteError, TimedOut
from securerelay.protocol import messages

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


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a message.

    Attributes:
        stream: the sending stream's id.
        seq: the message's number in it.
        delivered: when the recipient's client acknowledged it, Unix milliseconds; None if that was
            not asked.
    """

    stream: str
    seq: int
    delivered: int | None = None


@dataclass(slots=True, eq=False)
class Entry:
    """One message on its way.

    Attributes:
        to: the recipient, a peer or a room.
        body: what the relay will carry.
        ttl: seconds that the relay keeps it; None for the relay's default, 0 for live delivery
            only.
        receipt: whether the recipient's acknowledgement shall be told.
        until_delivered: whether ``done`` waits for that acknowledgement.
        done: fires with :class:`Sent` or fails with :class:`Refused`; None when nobody waits for
            the verdict.
        seq: its number in the stream; 0 before it was first written.
    """

    to: bytes
    body: bytes
    ttl: int | None
    receipt: bool
    until_delivered: bool = False
    done: Deferred[Sent] | None = None
    seq: int = 0
    delivered: int | None = None


class Outbox:
    """The unanswered messages of one sending stream.

    Args:
        refused: called with an entry nobody waits for, and the code, when the relay refused it for
            good.
        jitter: spreads the waits before a new try; returns a factor.
    """

    def __init__(
        self,
        refused: Callable[[Entry, str], None] = lambda entry, code: None,
        jitter: Callable[[], float] = lambda: 0.5 + secrets.randbelow(512) / 512,
    ) -> None:
        self._refused = refused
        self._jitter = jitter
        self._waiting: deque[Entry] = deque()
        self._flight: dict[int, Entry] = {}
        self._receipts: dict[int, Entry] = {}
        self._held_bytes = 0
        self._for_space: deque[Deferred[None]] = deque()
        self._for_empty: list[Deferred[None]] = []
        self._new_stream()

    def _new_stream(self) -> None:
        self.stream = base64.urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=")
        self._first = self._cursor = 1
        self._last = 0
        self._opened = False
        self._held = self._renewing = False
        self._window = WINDOW
        self._delay = 0.0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._flight)

    @property
    def wants_stream(self) -> bool:
        """Whether there is anything for which a session has to open the stream."""
        return bool(self._waiting or self._flight or self._receipts)

    # -- the application's side

    def add(self, entry: Entry) -> None:
        """Put a message at the end of the queue."""
        self._waiting.append(entry)
        self._held_bytes += len(entry.body)

    def withdraw(self, entry: Entry) -> bool:
        """Stop waiting for a message, and take it back if it was never written.

        Returns:
            True if it certainly never left.
        """
        entry.done = None
        self._receipts.pop(entry.seq, None)
        if entry.seq:
            return False
        self._waiting.remove(entry)
        self._release(entry)
        return True

    def space(self) -> Deferred[None] | None:
        """Say when there is room for more.

        Returns:
            None if there is room now.
        """
        if len(self) <= CAPACITY and self._held_bytes <= CAPACITY_BYTES:
            return None
        waiter: Deferred[None] = Deferred(self._for_space.remove)
        self._for_space.append(waiter)
        return waiter

    def empty(self) -> Deferred[None] | None:
        """Say when every message has its verdict; None if that is so now."""
        if not len(self):
            return None
        waiter: Deferred[None] = Deferred(self._for_empty.remove)
        self._for_empty.append(waiter)
        return waiter

    def _release(self, entry: Entry) -> None:
        self._held_bytes -= len(entry.body)
        while self._for_space and len(self) <= CAPACITY and self._held_bytes <= CAPACITY_BYTES:
            self._for_space.popleft().callback(None)
        if self._for_empty and not len(self):
            waiters, self._for_empty = self._for_empty, []
            for waiter in waiters:
                waiter.callback(None)

    def fail(self, error: Exception) -> None:
        """Tell everybody who waits that there will be no verdict."""
        entries = [*self._flight.values(), *self._waiting, *self._receipts.values()]
        self._flight.clear()
        self._waiting.clear()
        self._receipts.clear()
        self._held_bytes = 0
        waiters: list[Deferred[None]] = [*self._for_space, *self._for_empty]
        self._for_space.clear()
        self._for_empty.clear()
        for entry in entries:
            if entry.done is not None:
                entry.done.errback(error)
        for waiter in waiters:
            waiter.errback(error)

    # -- the session's side

    def opening(self) -> tuple[bytes, int]:
        """Begin a session: what to say in STREAM.

        Returns:
            The stream's id, and the last seq up to which every verdict is known.
        """
        self._cursor = self._first
        self._held = False
        # A stream in which nothing was ever written holds no surprise: messages may follow.
        self._opened = self._last == 0
        return self.stream, self._first - 1

    def opened(self, last: int) -> bool:
        """Take the relay's answer to STREAM.

        Args:
            last: the last seq that the relay consumed.

        Returns:
            False if the relay knows another history of this stream than we do: a new one is needed.
        """
        if not self._first - 1 <= last <= self._last:
            self._renewing = True
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
        if not self._opened or self._held or self._renewing:
            return out
        flight = self._flight
        while budget > 0 and self._cursor - self._first < self._window:
            if self._cursor <= self._last:
                entry = flight.get(self._cursor)
                self._cursor += 1
                if entry is None:
                    continue
            elif self._waiting:
                entry = self._waiting.popleft()
                self._last = entry.seq = self._cursor
                self._cursor += 1
                flight[entry.seq] = entry
            else:
                break
            data = messages.send(entry.seq, entry.to, entry.ttl, entry.receipt, entry.body)
            budget -= len(data)
            out.append(data)
        return out

    def ok(self, seq: int) -> None:
        """Every message up to this one that was not refused is accepted.

        Raises:
            RemoteError: for a seq that was never written.
        """
        if seq > self._last:
            raise RemoteError("protocol", f"OK {seq} after SEND {self._last}")
        self._delay = 0.0
        self._window = min(WINDOW, self._window + max(0, seq + 1 - self._first))
        while self._first <= seq:
            entry = self._flight.pop(self._first, None)
            self._first += 1
            if entry is not None:
                self._accepted(entry)
        self._cursor = max(self._cursor, self._first)

    def _accepted(self, entry: Entry) -> None:
        if entry.done is not None:
            if entry.until_delivered and entry.delivered is None:
                self._receipts[entry.seq] = entry
            else:
                self._answer(entry)
        self._release(entry)

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
            return self._again(seq, code)
        del self._flight[seq]
        while self._first <= self._last and self._first not in self._flight:
            self._first += 1
        self._cursor = max(self._cursor, self._first)
        done, entry.done = entry.done, None
        name = code.decode("ascii", "replace")
        if done is not None:
            done.errback(Refused(name, f"the relay refused a message to {entry.to.decode()}"))
        else:
            self._refused(entry, name)
        self._release(entry)
        return None

    def _again(self, seq: int, code: bytes) -> float | None:
        if seq >= self._cursor:
            return None  # the gap behind a refusal that already turned us back
        self._cursor = seq
        self._renewing = self._renewing or code == b"new-stream"
        self._window = max(SMALLEST_WINDOW, self._window // 2)
        if self._held:
            return None
        self._held = True
        self._delay = min(max(self._delay * 2, FIRST_DELAY[code]), LONGEST_DELAY)
        return self._delay * self._jitter()

    def resume(self) -> None:
        """The wait that :meth:`no` asked for is over."""
        self._held = False

    def got(self, seq: int, time: int) -> None:
        """A recipient acknowledged a message.

        Args:
            seq: the message.
            time: when, Unix milliseconds.
        """
        entry = self._receipts.pop(seq, None)
        if entry is not None:
            entry.delivered = time
            self._answer(entry)
        elif (entry := self._flight.get(seq)) is not None:
            entry.delivered = time

    def expired(self, seq: int) -> None:
        """A message's time ran out before a recipient had acknowledged it."""
        entry = self._receipts.pop(seq, None)
        if entry is not None and entry.done is not None:
            done, entry.done = entry.done, None
            done.errback(Refused("expired", f"{entry.to.decode()} did not come for the message"))

    @property
    def must_reopen(self) -> bool:
        """Whether the stream is spent and nothing of it awaits a verdict any more."""
        return self._renewing and self._cursor <= self._first

    def reopen(self) -> None:
        """Go on with a new stream; what was not accepted is sent in it, in the same order."""
        again = [self._flight[seq] for seq in sorted(self._flight)]
        for entry in again:
            entry.seq = 0
        orphans = list(self._receipts.values())
        self._flight.clear()
        self._receipts.clear()
        self._waiting.extendleft(reversed(again))
        self._new_stream()
        for entry in orphans:
            done, entry.done = entry.done, None
            if done is not None:
                done.errback(
                    TimedOut(
                        "the relay accepted the message, but its receipt will not come any more"
                    )
                )
