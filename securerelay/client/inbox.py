"""Messages that came, each shown to the application once, until they are acknowledged.

The relay keeps a message until ``ACK``; so one that came again, in another session or because its
sender had to send it again, is recognised here and not shown twice.  ``ACK`` is cumulative: it is
sent up to the last message before the first that the application still works on.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred, succeed

REMEMBERED = 8192
"""Messages that are recognised when they come again; several times the relay's window of
unacknowledged ones.
"""
PAUSE_BYTES = 16 << 20
"""Bytes of bodies waiting for the application above which the connection is not read."""


@dataclass(slots=True)
class Message:
    """A message for us.

    Attributes:
        sender: the peer that sent it, as the relay authenticated it.
        to: our own name, or the room it was sent to.
        body: what was sent.
        time: when the relay accepted it, Unix milliseconds.
        n: its number in our mailbox.
        stream: the sender's stream.
        seq: its number in that stream.
    """

    sender: str
    to: str
    body: bytes
    time: int
    n: int
    stream: str
    seq: int
    _inbox: Inbox = field(repr=False, compare=False)

    def ack(self) -> Deferred[None]:
        """Tell the relay that this message is dealt with; doing it twice is harmless.

        Returns:
            Something to await; it fires at once, and the acknowledgement leaves with the next
            write.
        """
        self._inbox.acknowledge(self.n)
        return succeed(None)


class Inbox:
    """Received messages, in order.

    Args:
        acknowledged: called when :attr:`acked` has risen.
        pressure: called with True when too much waits for the application, with False when it has
            caught up.
    """

    def __init__(
        self,
        acknowledged: Callable[[], None] = lambda: None,
        pressure: Callable[[bool], None] = lambda full: None,
    ) -> None:
        self._acknowledged = acknowledged
        self._pressure = pressure
        self._queue: deque[Message] = deque()
        self._queued_bytes = 0
        self._full = False
        self._unacknowledged: deque[int] = deque()
        self._done: set[int] = set()
        self._seen: OrderedDict[tuple[bytes, bytes, int], None] = OrderedDict()
        self._for_message: deque[Deferred[Message]] = deque()
        self._error: Exception | None = None
        self.last = 0
        """The highest number received."""
        self.acked = 0
        """The number up to which everything is dealt with."""

    def received(
        self, n: int, sender: bytes, to: bytes, stream: bytes, seq: int, time: int, body: bytes
    ) -> None:
        """Take a message from the relay; arguments as in ``MSG``."""
        if n <= self.last:
            return
        self.last = n
        key = (sender, stream, seq)
        self._unacknowledged.append(n)
        if key in self._seen:
            self.acknowledge(n)
            return
        self._seen[key] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        message = Message(
            sender.decode(), to.decode(), bytes(body), time, n, stream.decode(), seq, self
        )
        if self._for_message:
            self._for_message.popleft().callback(message)
            return
        self._queue.append(message)
        self._queued_bytes += len(message.body)
        if not self._full and self._queued_bytes > PAUSE_BYTES:
            self._full = True
            self._pressure(True)

    def next(self) -> Deferred[Message]:
        """Return the next message, now or when it comes; cancel it to stop waiting.

        Raises:
            SecureRelayError: through the Deferred, when no message can come any more.
        """
        if self._queue:
            message = self._queue.popleft()
            self._queued_bytes -= len(message.body)
            if self._full and self._queued_bytes <= PAUSE_BYTES // 2:
                self._full = False
                self._pressure(False)
            return succeed(message)
        waiter: Deferred[Message] = Deferred(self._for_message.remove)
        if self._error is not None:
            waiter.errback(self._error)
        else:
            self._for_message.append(waiter)
        return waiter

    def acknowledge(self, n: int) -> None:
        """Note that a message is dealt with."""
        if n <= self.acked:
            return
        self._done.add(n)
        before = self.acked
        while self._unacknowledged and self._unacknowledged[0] in self._done:
            self.acked = self._unacknowledged.popleft()
            self._done.discard(self.acked)
        if self.acked > before:
            self._acknowledged()

    def fail(self, error: Exception) -> None:
        """No message will come any more; what has come can still be read."""
        self._error = error
        waiters, self._for_message = self._for_message, deque()
        for waiter in waiters:
            waiter.errback(error)

    def revive(self) -> None:
        """Messages may come again after :meth:`fail`."""
        self._error = None
