"""What is on its way to the store: messages, refusals, and word that a stream moved on.

::

    QUEUED ──taken into a batch──▶ TAKEN ──committed──▶ STORED
      │
      └──acknowledged before, or refused for now──▶ GONE

What one acknowledgement does not withdraw, a refusal or a message to a room, is BOUND instead of
QUEUED.  Messages that came together stay together, to the store and to their recipient: as an
:class:`Entry`, or with ttl 0, for they are never on their way to the store, as a :class:`Run`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from securerelay.protocol import messages
from securerelay.relay.screen import Screen
from securerelay.store.rows import Append, Refuse

if TYPE_CHECKING:
    from securerelay.relay.mailbox import Mailbox, Share
    from securerelay.relay.peer import Peer
    from securerelay.relay.stream import Stream

QUEUED, BOUND, TAKEN, STORED, GONE = range(5)

NEVER = (1 << 63) - 1


Passed = tuple[int, "bytes | None"]
"""How many messages were taken, and why the next one was not; None if all were."""

Offered = tuple[Sequence["Entry"], "bytes | None"]
"""What was taken, cut up as need be, and why the next message was not; None if all were."""


class Door(Protocol):
    """Takes messages: a mailbox, or those of everybody in a room."""

    @property
    def patience(self) -> float:
        """Seconds within which who has what was taken last may acknowledge it; 0 if nobody has."""

    def offer(self, entry: Entry, share: Any) -> Offered:
        """Take messages that are to be kept, up to the first that is refused."""

    def pass_on(self, run: Any) -> Passed:
        """Take messages with ttl 0, up to the first that is refused."""


class Route(Protocol):
    """The way from a stream to whom it addresses."""

    @property
    def run(self) -> Callable[..., Run]:
        """What messages with ttl 0 are that go this way."""

    @property
    def cost(self) -> int:
        """How many messages one counts for against its sender's rate."""

    @property
    def mailbox(self) -> Door:
        """Where they go."""

    @property
    def screen(self) -> Screen | None:
        """Which bodies are taken; None for all."""


class Run:
    """Messages with ttl 0 that came together, until they are acknowledged.

    Args:
        stream: the sender's.
        seq: the first one's number there.
        place: what their headers have in common, from :func:`.messages.msg_place`.
        time: when they came, Unix ms.
        receipt: whether the sender wants to know of each acknowledgement.
        bodies: opaque.
        size: their bytes in all.
    """

    __slots__ = ("bodies", "place", "receipt", "seq", "size", "stream", "time")

    def __init__(
        self,
        stream: Stream,
        seq: int,
        place: bytes,
        time: int,
        receipt: bool,
        bodies: Sequence[bytes],
        size: int,
    ) -> None:
        self.stream = stream
        self.seq = seq
        self.place = place
        self.time = time
        self.receipt = receipt
        self.bodies = bodies
        self.size = size

    def cut(self, count: int) -> Run:
        """Return the first so many of them."""
        bodies = self.bodies[:count]
        size = sum(map(len, bodies))
        return type(self)(self.stream, self.seq, self.place, self.time, self.receipt, bodies, size)

    def said(self, number: int) -> list[bytes]:
        """Write them as ``MSG`` with numbers from one on, in any pieces."""
        return [messages.msg_run(number, self.place, self.seq, self.time, self.bodies)]

    def got(self, peer: Peer, first: int, count: int) -> None:
        """So many of them are acknowledged, from one on; tell their sender if it asked for that."""
        if self.receipt:
            now = peer.router.now()
            for seq in range(self.seq + first, self.seq + first + count):
                self.stream.got(seq, peer, now)


class Entry(Run):
    """Messages that came together from a stream, until they are settled and acknowledged.

    Args:
        stream: the sender's.
        seq: the first one's number there.
        to: the recipient as addressed.
        place: what their headers have in common, from :func:`.messages.msg_place`.
        share: the sender's part of the recipient's mailbox, None if there is more than one.
        time: when they came, Unix ms.
        expiry: when they are no longer wanted, Unix ms.
        receipt: whether the sender wants to know of each acknowledgement.
        bodies: opaque.
        size: their bytes in all.
        state: where they are on their way.

    Attributes:
        first: the number of the first that has no verdict; ``seq`` is that of the first of those
            that are not settled yet.
        last: the last one's.
        n: the last one's number in the mailbox.
        counted: whether the mailbox's quotas count them.
        settled: whether they need nothing more.
    """

    __slots__ = (
        "counted",
        "expiry",
        "first",
        "last",
        "n",
        "settled",
        "share",
        "state",
        "to",
    )

    refused: bytes | None = None
    """The code of a final refusal; None for what is no refusal."""

    def __init__(
        self,
        stream: Stream,
        seq: int,
        to: bytes,
        place: bytes,
        share: Any,
        time: int,
        expiry: int,
        receipt: bool,
        bodies: Sequence[bytes],
        size: int,
        state: int = QUEUED,
    ) -> None:
        super().__init__(stream, seq, place, time, receipt, bodies, size)
        self.first = seq
        self.last = seq + len(bodies) - 1
        self.to = to
        self.share: Share | None = share
        self.expiry = expiry
        self.state = state
        self.n = 0
        self.settled = self.counted = False

    def part(self, count: int) -> Entry:
        """Return the first so many of them, which go ahead of the others.

        Once the store was asked to take all, they only are told apart.
        """
        bodies = self.bodies[:count]
        size = sum(map(len, bodies))
        first = Entry(
            self.stream,
            self.seq,
            self.to,
            self.place,
            self.share,
            self.time,
            self.expiry,
            self.receipt,
            bodies,
            size,
            self.state,
        )
        first.counted = self.counted
        if self.state == QUEUED:
            self.bodies = self.bodies[count:]
            self.size -= size
            self.seq += count
        return first

    def row(self) -> Append | Refuse:
        """Write them down for the store, as the next thing that their stream hands over."""
        stream = self.stream
        return Append(
            stream.peer.text,
            stream.text,
            self.seq,
            self.to.decode("ascii"),
            self.recipients(),
            self.time,
            self.expiry,
            self.receipt,
            self.bodies,
            stream.hand_over(self.last),
        )

    def early(self, mailbox: Mailbox) -> None:
        """A recipient acknowledged it before the store was asked; only rooms have several."""

    def recipients(self) -> tuple[tuple[str, int], ...]:
        """Name the mailbox, and the last message's number in it."""
        assert self.share is not None
        return ((self.share.mailbox.text, self.n),)

    def committed(self, reached: dict[Mailbox, int], refused: str | None = None) -> None:
        """The store has them; their stream advances once the whole batch is looked at.

        Args:
            reached: takes down the mailboxes that have them, and the last one's number there.
            refused: the code that the store remembers for this seq, if it had been refused before.
        """
        self.state = STORED
        share = self.share
        assert share is not None
        if not self.counted:
            self.counted = True
            share.add(len(self.bodies), self.size)
        reached[share.mailbox] = self.n
        self.stream.kept(self.last)
        self.settled = True

    def rejected(self, code: bytes) -> None:
        """The store did not take them: neither they nor what follows in the stream counts.

        Args:
            code: for their sender, to try again.
        """
        if self.settled:
            self.withdrawn()
            self.stream.not_kept()
        else:
            self.stream.roll_back(code)

    def withdrawn(self) -> Iterable[Mailbox]:
        """They will not come into the store: they take no room in the mailbox any more.

        Returns:
            The mailboxes where they may still wait.
        """
        self.state = GONE
        share = self.share
        if share is None:
            return ()
        if self.counted:
            share.subtract(len(self.bodies), self.size)
        return (share.mailbox,)


class Placeholder(Entry):
    """Holds the place of messages with ttl 0, whose OK must not come before others'.

    Args:
        stream: the sender's.
        seq: the first one's number there.
        last: the last one's.
    """

    __slots__ = ()

    def __init__(self, stream: Stream, seq: int, last: int) -> None:
        super().__init__(stream, seq, b"", b"", None, 0, NEVER, False, (), 0, GONE)
        self.last = last
        self.settled = True


class Refusal(Entry):
    """A final no, told once the store remembers it.

    Args:
        stream: the sender's.
        seq: the number of the message that is refused.
        code: why.
        time: when, Unix ms.
    """

    __slots__ = ("refused",)

    def __init__(self, stream: Stream, seq: int, code: bytes, time: int) -> None:
        super().__init__(stream, seq, b"", b"", None, time, NEVER, False, (b"",), 0, BOUND)
        self.refused = code

    def row(self) -> Append | Refuse:
        """See :meth:`Entry.row`."""
        assert self.refused is not None
        stream, code = self.stream, self.refused.decode("ascii")
        after = stream.hand_over(self.seq)
        return Refuse(stream.peer.text, stream.text, self.seq, code, self.time, after)

    def committed(self, reached: dict[Mailbox, int], refused: str | None = None) -> None:
        """See :meth:`Entry.committed`."""
        assert self.refused is not None
        self.state = STORED
        self.settled = True
        if refused is not None:
            self.refused = refused.encode("ascii")
        self.stream.kept(self.seq)
        self.stream.refused(self.seq, self.refused)


class Advance(Entry):
    """Word that a stream moved on over messages that never needed the store.

    Args:
        stream: the sender's.
        seq: the last number that was consumed.
        time: when, Unix ms.
    """

    __slots__ = ()

    def __init__(self, stream: Stream, seq: int, time: int) -> None:
        to = stream.peer.name
        super().__init__(stream, seq, to, b"", None, time, NEVER, False, (b"",), 0, BOUND)

    def recipients(self) -> tuple[tuple[str, int], ...]:
        """Nobody: the stream alone moves on."""
        return ()

    def committed(self, reached: dict[Mailbox, int], refused: str | None = None) -> None:
        """See :meth:`Entry.committed`."""
        self.state = STORED
        self.settled = True
        self.stream.kept(self.seq)

    def rejected(self, code: bytes) -> None:
        """See :meth:`Entry.rejected`; what was lost here the client says itself in STREAM."""
        self.state = GONE
        self.stream.forget()
