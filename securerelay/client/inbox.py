"""Messages that came, each shown to the application once, until they are acknowledged.

The relay keeps a message until ``ACK``; so one that came again, in another session or because its
sender had to send it again, is recognised here and not shown twice.  ``ACK`` is cumulative: it is
sent up to the last message before the first that the application still works on.

With a journal this holds across processes too: what the application has dealt with is noted on disk
before the relay hears of it.  What earlier processes dealt with is looked up when the first message
of a stream comes; what came behind it waits meanwhile, for order is kept.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from securerelay.client.journal import Journal
from securerelay.client.seqs import Seqs
from securerelay.client.state import State
from securerelay.errors import StorageError

REMEMBERED = 8192
"""Messages that are recognised when they come again; several times the relay's window of
unacknowledged ones.
"""
STREAMS = 4096
"""Streams of others whose history is kept at hand."""
PAUSE_BYTES = 16 << 20
"""Bytes of bodies waiting for the application above which the connection is not read."""

_Came = tuple[int, bytes, bytes, bytes, int, int, bytes]
_Key = tuple[str, str]


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
            Something that may be awaited: it fires when that is noted on this machine's disk, so
            that the message is not shown again even if the power fails; at once for a client that
            is not durable. The relay hears of it with the next write.
        """
        self._inbox.acknowledge(self.n)
        return self._inbox.noted()


class Inbox:
    """Received messages, in order.

    Args:
        acknowledged: called when :attr:`acked` has risen.
        pressure: called with True when too much waits for the application, with False when it has
            caught up.
        journal: where it is noted what was dealt with; None to remember it in memory alone.
    """

    def __init__(
        self,
        acknowledged: Callable[[], None] = lambda: None,
        pressure: Callable[[bool], None] = lambda full: None,
        journal: Journal | None = None,
    ) -> None:
        self._acknowledged = acknowledged
        self._pressure = pressure
        self._queue: deque[Message] = deque()
        self._queued_bytes = 0
        self._full = False
        self._journal = journal
        self._history: OrderedDict[_Key, Seqs] = OrderedDict()
        self._arrived: deque[_Came] = deque()
        self._keys: dict[int, tuple[_Key, int]] = {}
        self._dealt: dict[_Key, list[int]] = {}
        self._noting = False
        self._through = 0
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
        if self._journal is None:
            self._take(n, sender, to, stream, seq, time, body)
            return
        self._arrived.append((n, sender, to, stream, seq, time, bytes(body)))
        if len(self._arrived) == 1:
            self._go_on()

    def _go_on(self) -> None:
        """Take what arrived, as far as it is known what was dealt with of its streams."""
        while self._arrived:
            n, sender, to, stream, seq, time, body = self._arrived[0]
            key = sender.decode(), stream.decode()
            history = self._history.get(key)
            if history is None:
                self._look_up()
                return
            self._arrived.popleft()
            if seq in history:
                self._unacknowledged.append(n)
                self.acknowledge(n)
            else:
                self._take(n, sender, to, stream, seq, time, body)

    def _look_up(self) -> None:
        assert self._journal is not None, "without a journal there is no history"

        def prepare() -> Callable[[State], tuple[list[_Key], list[Seqs]]]:
            streams = {(came[1].decode(), came[3].decode()): None for came in self._arrived}
            keys = [key for key in streams if key not in self._history]
            return lambda state: (keys, state.recall(keys))

        looking = self._journal.prepare(prepare, write=False)
        looking.addCallbacks(self._found, self._broke)

    def _found(self, found: tuple[list[_Key], list[Seqs]]) -> None:
        self._history.update(zip(*found, strict=True))
        self._go_on()
        while len(self._history) > STREAMS:
            self._history.popitem(last=False)

    def _take(
        self, n: int, sender: bytes, to: bytes, stream: bytes, seq: int, time: int, body: bytes
    ) -> None:
        key = (sender, stream, seq)
        self._unacknowledged.append(n)
        if key in self._seen:
            self.acknowledge(n)
            return
        self._seen[key] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        if self._journal is not None:
            self._keys[n] = (sender.decode(), stream.decode()), seq
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
        if n <= self._through or n in self._done:
            return
        self._done.add(n)
        before = self._through
        while self._unacknowledged and self._unacknowledged[0] in self._done:
            self._through = self._unacknowledged.popleft()
            self._done.discard(self._through)
        if self._journal is not None:
            self._note(n)
        elif self._through > before:
            self.acked = self._through
            self._acknowledged()

    def _note(self, n: int) -> None:
        """Have a message noted as dealt with; the relay hears of it when it is."""
        assert self._journal is not None, "only a journal keeps notes"
        journal = self._journal
        if journal.closed:
            return
        noted = self._keys.pop(n, None)
        if noted is not None:
            key, seq = noted
            self._dealt.setdefault(key, []).append(seq)
            if key in self._history:
                self._history[key].add(seq)
        if self._noting:
            return
        self._noting = True

        def prepare() -> Callable[[State], int]:
            dealt, self._dealt = self._dealt, {}
            through, now = self._through, journal.now()
            self._noting = False

            def job(state: State) -> int:
                state.deal(dealt, now)
                return through

            return job

        noting = journal.prepare(prepare)
        noting.addCallbacks(self._noted, self._broke)

    def noted(self) -> Deferred[None]:
        """Say when everything that was dealt with is on disk."""
        return self._journal.flush() if self._journal is not None else succeed(None)

    def _broke(self, failure: Failure) -> None:
        self.fail(StorageError(failure.getErrorMessage()))

    def _noted(self, through: int) -> None:
        if through > self.acked:
            self.acked = through
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

    def refresh(self) -> None:
        """Look at the disk again, for other processes may have dealt with messages meanwhile."""
        self._history.clear()
