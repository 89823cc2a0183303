"""The outbox of a stream that another process began, or that has one message with a key.

It is never extended: what the journal holds of it is sent, and what the relay says is noted.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from securerelay.client.entry import NOBODY, Entry
from securerelay.client.journal import Journal
from securerelay.client.outbox import Outbox
from securerelay.client.pen import Pen
from securerelay.client.rows import Left, Outgoing
from securerelay.errors import LocalError


class Spent(LocalError):
    """The relay takes no more in this stream.

    Args:
        after: the seq up to which messages have a verdict or may have arrived.
    """

    def __init__(self, after: int) -> None:
        super().__init__("the relay takes no more in this stream")
        self.after = after


class Resumed(Outbox):
    """What is left of one stream.

    Args:
        left: what the journal says of it.
        journal: where verdicts are noted.
        watched: the entry of seq 1, if somebody waits for what becomes of that.
        pen: writes messages; None for bodies as they were given.

    Attributes:
        standing: fires with the last seq that the relay has consumed, when it has said so first.
    """

    def __init__(
        self,
        left: Left,
        journal: Journal,
        watched: Entry | None = None,
        pen: Pen | None = None,
    ) -> None:
        super().__init__(journal=journal, owner=left.owner, pen=pen)
        self.stream = left.stream.encode()
        self._pen.begin(self.stream)
        self._left = left
        self._watched = watched
        self._first = self._cursor = left.answered + 1
        self._last = left.answered
        self._numbered = self._stored_to = left.last
        self._cleared = self._clearing = left.written
        self._unheard = True
        self._loaded = 0
        self.standing: Deferred[int] = Deferred()
        if watched is not None and watched.seq <= left.answered:
            self._receipts[watched.seq] = watched

    @property
    def wants_stream(self) -> bool:
        """Always: also for receipts alone."""
        return True

    def opening(self) -> tuple[bytes, int]:
        """Begin a session; nothing is written before the relay has said where the stream stands."""
        said = super().opening()
        self._opened = self._opened and not self._unheard
        return said

    def opened(self, last: int) -> bool:
        """Take the relay's answer to STREAM."""
        if self._unheard and last >= self._left.answered:
            self._unheard = False
            # What the relay has consumed awaits its verdict here, without the content.
            for seq in range(self._first, last + 1):
                self._flight[seq] = self._entry(Outgoing(seq, "", None, False, b""))
            self._last = self._loaded = last
            self._numbered = max(self._numbered, last)
            opened = super().opened(last)
            self.standing.callback(last)
            return opened
        opened = super().opened(last)
        if not opened:
            self._uncertain = max(self._uncertain, self._left.written)
        return opened

    def _entry(self, message: Outgoing) -> Entry:
        watched = self._watched
        if watched is not None and watched.seq == message.seq:
            watched.journaled = True
            watched.letter = self._pen.unpack(message).letter
            self._load.add(len(watched.body))
            return watched
        entry = self._pen.unpack(message)
        self._load.add(len(entry.body))
        return entry

    def _may_be_seen(self, seq: int) -> bool:
        return super()._may_be_seen(seq) or seq <= self._left.written

    @property
    def keyed(self) -> bool:
        """Whether a key names the one message of the stream, which stays where it is."""
        return self._left.keyed

    def restore(self, message: Outgoing) -> None:
        """Send a message of the journal.

        A number before it that is missing belonged to a message that was to be delivered at once or
        never: now it goes to nobody.
        """
        for seq in range(self._loaded + 1, message.seq):
            self._load.add(0)
            self._waiting.append(Entry(NOBODY, b"", 0, False, seq=seq))
        self._waiting.append(self._entry(message))
        self._loaded = message.seq

    def fail(self, error: Exception) -> None:
        """Tell everybody who waits."""
        super().fail(error)
        if not self.standing.called:
            self.standing.errback(error)

    def reopen(self) -> None:
        """The stream is spent: whoever drains it goes on in a new one."""
        self.fail(Spent(max(self._uncertain, self.answered)))
