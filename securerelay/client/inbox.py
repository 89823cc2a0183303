"""Messages that came, each shown to the application once, until they are acknowledged.

The relay keeps a message until ``ACK``; so one that came again, in another session or because its
sender had to send it again, is recognised here and not shown twice.  ``ACK`` is cumulative: it is
sent up to the last message before the first that the application still works on.

With a journal this holds across processes too: what the application has dealt with is noted on disk
before the relay hears of it.  What earlier processes dealt with is looked up when the first message
of a stream comes; what came behind it waits meanwhile, for order is kept.

With sealing, an opener looks at each message before: it says who wrote it, and what is shown.
"""

from __future__ import annotations

import typing
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from securerelay.client.journal import Journal
from securerelay.client.seqs import Seqs
from securerelay.client.state import State
from securerelay.errors import RemoteError, SecureRelayError, StorageError

REMEMBERED = 8192
"""Messages that are recognised when they come again; several times the relay's window of
unacknowledged ones.
"""
STREAMS = 4096
"""Streams of others whose history is kept at hand."""
BEYOND = 1 << 63
"""Seqs from which there are none."""
PAUSE_BYTES = 16 << 20
"""Bytes of bodies waiting for the application above which the connection is not read."""

Came = tuple[int, bytes, bytes, bytes, int, int, bytes]
"""What ``MSG`` says: n, sender, to, stream, seq, time, body."""
Key = tuple[str, str]
"""Whose stream: a peer, or the fingerprint that signed; and the stream's name."""


class Opens(typing.Protocol):
    """What looks at each message before the application."""

    async def take(self, came: Came) -> None:
        """Look at one message, and pass it to :meth:`Inbox.show` or :meth:`Inbox.drop`."""

    def dealt(self, numbers: Sequence[int]) -> Callable[[State], None]:
        """Return what else is to be noted when messages are dealt with."""

    def refresh(self) -> None:
        """Look at the disk again."""


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
        content_type: what the body is, as its sender signed it; None for what was not sealed.
        level: how much is known of the sender: ``seen``, ``verified`` or ``changed``; None for what
            was not sealed.
        sealed: whether it was sealed, so that the sender is known by more than the relay's word.
    """

    sender: str
    to: str
    body: bytes
    time: int
    n: int
    stream: str
    seq: int
    _inbox: Inbox = field(repr=False, compare=False)
    content_type: str | None = None
    level: str | None = None
    sealed: bool = False

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
        opener: looks at each message first; it needs the journal. None to show them as they come.
    """

    def __init__(
        self,
        acknowledged: Callable[[], None] = lambda: None,
        pressure: Callable[[bool], None] = lambda full: None,
        journal: Journal | None = None,
        opener: Opens | None = None,
    ) -> None:
        self._acknowledged = acknowledged
        self._pressure = pressure
        self._queue: deque[Message] = deque()
        self._queued_bytes = 0
        self._full = False
        self._journal = journal
        self._opener = opener
        self._opening = False
        self._history: OrderedDict[Key, Seqs] = OrderedDict()
        self._arrived: deque[Came] = deque()
        self._keys: dict[int, Sequence[tuple[Key, int]]] = {}
        self._dealt: list[int] = []
        self._noting = False
        self._through = 0
        self._unacknowledged: deque[int] = deque()
        self._done: set[int] = set()
        self._seen: OrderedDict[tuple[Key, int], None] = OrderedDict()
        self._for_message: deque[Deferred[Message]] = deque()
        self._error: Exception | None = None
        self.last = 0
        """The highest number received."""
        self.acked = 0
        """The number up to which everything is dealt with."""

    def received(
        self, n: int, sender: bytes, to: bytes, stream: bytes, seq: int, time: int, body: bytes
    ) -> None:
        """Take a message from the relay; arguments as in ``MSG``.

        Raises:
            RemoteError: ``protocol`` for a seq that no stream reaches and no disk keeps.
        """
        if seq >= BEYOND:
            raise RemoteError("protocol", f"a message {seq} of a stream")
        if n <= self.last:
            return
        self.last = n
        came = n, sender, to, stream, seq, time, bytes(body)
        if self._journal is None:
            self._take(came)
            return
        self._arrived.append(came)
        if self._opener is not None:
            self._open()
        elif len(self._arrived) == 1:
            self._go_on()

    def again(self, came: Came) -> None:
        """Have the opener look once more at a message that it kept; its number is negative."""
        self._arrived.append(came)
        self._open()

    def _open(self) -> None:
        if not self._opening:
            self._opening = True
            Deferred.fromCoroutine(self._open_all()).addErrback(self._broke)

    async def _open_all(self) -> None:
        assert self._opener is not None, "asked before"
        try:
            while self._arrived:
                await self._opener.take(self._arrived.popleft())
        finally:
            self._opening = False

    def _go_on(self) -> None:
        """Take what arrived, as far as it is known what was dealt with of its streams."""
        while self._arrived:
            n, sender, _, stream, seq, *_ = self._arrived[0]
            history = self._history.get((sender.decode(), stream.decode()))
            if history is None:
                self._look_up()
                return
            came = self._arrived.popleft()
            if seq in history:
                self.drop(n)
            else:
                self._take(came)

    def _look_up(self) -> None:
        assert self._journal is not None, "without a journal there is no history"

        def prepare() -> Callable[[State], tuple[list[Key], list[Seqs]]]:
            streams = {(came[1].decode(), came[3].decode()): None for came in self._arrived}
            keys = [key for key in streams if key not in self._history]
            return lambda state: (keys, state.recall(keys))

        looking = self._journal.prepare(prepare, write=False)
        looking.addCallback(self._found).addCallbacks(lambda _: self._go_on(), self._broke)

    def _found(self, found: tuple[Iterable[Key], list[Seqs]]) -> None:
        self._history.update(zip(*found, strict=True))
        while len(self._history) > STREAMS:
            self._history.popitem(last=False)

    def _take(self, came: Came) -> None:
        n, sender, to, stream, seq, time, body = came
        key = (sender.decode(), stream.decode())
        if (key, seq) in self._seen:
            self.drop(n)
            return
        message = Message(key[0], to.decode(), body, time, n, key[1], seq, self)
        self.show(message, ((key, seq),))

    # -- the opener's side

    async def recall(self, keys: Sequence[Key]) -> None:
        """Learn what was dealt with of streams, so that :meth:`has` can tell."""
        missing = [key for key in keys if key not in self._history]
        if missing and self._journal is not None:
            found = await self._journal.do(lambda state: state.recall(missing), write=False)
            self._found((missing, found))

    def has(self, key: Key, seq: int) -> bool:
        """Tell whether a message was shown or dealt with before; recalled just before."""
        return seq in self._history[key] or (key, seq) in self._seen

    def drop(self, n: int) -> None:
        """Acknowledge a message that nobody needs."""
        if n > 0:
            self._unacknowledged.append(n)
            self.acknowledge(n)

    def check(self) -> None:
        """Raise why no message can be shown any more, if so."""
        if self._error is not None:
            raise self._error

    def show(self, message: Message, keys: Sequence[tuple[Key, int]], hidden: bool = False) -> None:
        """Give a message to the application.

        Args:
            message: what it gets.
            keys: stream and seq of the message, and of another one that it stands for; none of them
                is shown again.
            hidden: whether it is dealt with already.
        """
        n = message.n
        for key in keys:
            self._seen[key] = None
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        if self._journal is not None:
            self._keys[n] = keys
        if n > 0:
            self._unacknowledged.append(n)
        if hidden:
            self.acknowledge(n)
            return
        if self._for_message:
            self._for_message.popleft().callback(message)
            return
        self._queue.append(message)
        self._queued_bytes += len(message.body)
        if not self._full and self._queued_bytes > PAUSE_BYTES:
            self._full = True
            self._pressure(True)

    # -- the application's side

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
        if n < 0:
            self._note(n)
            return
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
        if n in self._keys:
            self._dealt.append(n)
            for key, seq in self._keys[n]:
                if key in self._history:
                    self._history[key].add(seq)
        if self._noting:
            return
        self._noting = True

        def prepare() -> Callable[[State], int]:
            self._noting = False
            numbers, self._dealt = self._dealt, []
            dealt: dict[Key, list[int]] = {}
            for number in numbers:
                for key, seq in self._keys.pop(number, ()):
                    dealt.setdefault(key, []).append(seq)
            more = self._opener.dealt(numbers) if self._opener is not None else None
            through, now = self._through, journal.now()

            def job(state: State) -> int:
                state.deal(dealt, now)
                if more is not None:
                    more(state)
                return through

            return job

        noting = journal.prepare(prepare)
        noting.addCallbacks(self._noted, self._broke)

    def noted(self) -> Deferred[None]:
        """Say when everything that was dealt with is on disk."""
        return self._journal.flush() if self._journal is not None else succeed(None)

    def _broke(self, failure: Failure) -> None:
        error = failure.value
        if not isinstance(error, SecureRelayError):
            error = StorageError(failure.getErrorMessage())
        self.fail(error)

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
        if self._opener is not None:
            self._opener.refresh()
