"""What is on its way to the store: messages, refusals, and word that a stream moved on.

::

    QUEUED ──taken into a batch──▶ TAKEN ──committed──▶ STORED
      │
      └──acknowledged before, or refused for now──▶ GONE

What one acknowledgement does not withdraw, a refusal or a message to a room, is BOUND instead of
QUEUED; a message with ttl 0 is LIVE and never on its way at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from securerelay.protocol import messages
from securerelay.relay.screen import Screen
from securerelay.store.rows import Append, Refuse

if TYPE_CHECKING:
    from securerelay.relay.mailbox import Mailbox, Share
    from securerelay.relay.stream import Stream

QUEUED, BOUND, TAKEN, STORED, LIVE, GONE = range(6)

NEVER = (1 << 63) - 1


class Door(Protocol):
    """Takes messages: a mailbox, or those of everybody in a room."""

    @property
    def live(self) -> bool:
        """Whether what was taken last was handed over, so that an acknowledgement is near."""

    def offer(self, entry: Any, share: Any) -> bytes | None:
        """Take a message that is to be kept, or return the code of a refusal."""

    def pass_on(self, entry: Any) -> bytes | None:
        """Take a message with ttl 0, or return the code of a refusal."""


class Route(Protocol):
    """The way from a stream to whom it addresses."""

    @property
    def kind(self) -> Callable[..., Entry]:
        """What its messages are."""

    @property
    def cost(self) -> int:
        """How many messages one counts for against its sender's rate."""

    @property
    def mailbox(self) -> Door:
        """Where they go."""

    @property
    def screen(self) -> Screen | None:
        """Which bodies are taken; None for all."""


class Entry:
    """A message from a stream to one mailbox, until it is settled and acknowledged.

    Args:
        stream: the sender's.
        seq: its number there.
        to: the recipient as addressed.
        share: the sender's part of the recipient's mailbox.
        time: when it came, Unix ms.
        expiry: when it is no longer wanted, Unix ms.
        receipt: whether the sender wants to know of the acknowledgement.
        body: opaque.
        state: QUEUED or LIVE.
    """

    __slots__ = (
        "body",
        "counted",
        "expiry",
        "n",
        "receipt",
        "seq",
        "settled",
        "share",
        "state",
        "stream",
        "time",
        "to",
    )

    refused: bytes | None = None
    """The code of a final refusal; None for what is no refusal."""

    def __init__(
        self,
        stream: Stream,
        seq: int,
        to: bytes,
        share: Share | None,
        time: int,
        expiry: int,
        receipt: bool,
        body: bytes,
        state: int,
    ) -> None:
        self.stream = stream
        self.seq = seq
        self.to = to
        self.share = share
        self.time = time
        self.expiry = expiry
        self.receipt = receipt
        self.body = body
        self.state = state
        self.n = 0
        self.settled = self.counted = False

    def row(self) -> Append | Refuse:
        """Write it down for the store, as the next thing that its stream hands over."""
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
            self.body,
            stream.hand_over(self.seq),
        )

    def header(self, number: int) -> bytes:
        """Write the header of its ``MSG`` with a number."""
        stream = self.stream
        return messages.msg_header(
            number, stream.peer.name, self.to, stream.id, self.seq, self.time, len(self.body)
        )

    def early(self, mailbox: Mailbox) -> None:
        """A recipient acknowledged it before the store was asked; only rooms have several."""

    def recipients(self) -> tuple[tuple[str, int], ...]:
        """Name the mailbox, and the message's number in it."""
        assert self.share is not None
        return ((self.share.mailbox.text, self.n),)

    def committed(self, refused: str | None = None) -> None:
        """The store has it.

        Args:
            refused: the code that the store remembers for this seq, if it had been refused before.
        """
        self.state = STORED
        assert self.share is not None
        if not self.counted:
            self.counted = True
            self.share.add(len(self.body))
        self.share.mailbox.committed(self.n)
        self.stream.kept(self.seq)
        self.stream.settle(self)

    def rejected(self, code: bytes) -> None:
        """The store did not take it: neither it nor what follows it in the stream counts.

        Args:
            code: for its sender, to try again.
        """
        if self.settled:
            self.stream.not_kept()
        else:
            self.stream.roll_back(code)

    def withdrawn(self) -> None:
        """It will not come into the store; its sender is told to send it again."""
        self.state = GONE
        if self.counted and self.share is not None:
            self.share.subtract(1, len(self.body))


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
        super().__init__(stream, seq, b"", None, time, NEVER, False, b"", BOUND)
        self.refused = code

    def row(self) -> Append | Refuse:
        """See :meth:`Entry.row`."""
        assert self.refused is not None
        stream, code = self.stream, self.refused.decode("ascii")
        after = stream.hand_over(self.seq)
        return Refuse(stream.peer.text, stream.text, self.seq, code, self.time, after)

    def committed(self, refused: str | None = None) -> None:
        """See :meth:`Entry.committed`."""
        assert self.refused is not None
        self.state = STORED
        if refused is not None:
            self.refused = refused.encode("ascii")
        self.stream.kept(self.seq)
        self.stream.refused(self.seq, self.refused)
        self.stream.settle(self)


class Advance(Entry):
    """Word that a stream moved on over messages that never needed the store.

    Args:
        stream: the sender's.
        seq: the last number that was consumed.
        time: when, Unix ms.
    """

    __slots__ = ()

    def __init__(self, stream: Stream, seq: int, time: int) -> None:
        super().__init__(stream, seq, stream.peer.name, None, time, NEVER, False, b"", BOUND)

    def recipients(self) -> tuple[tuple[str, int], ...]:
        """Nobody: the stream alone moves on."""
        return ()

    def committed(self, refused: str | None = None) -> None:
        """See :meth:`Entry.committed`."""
        self.state = STORED
        self.stream.kept(self.seq)
        self.stream.settle(self)

    def rejected(self, code: bytes) -> None:
        """See :meth:`Entry.rejected`; what was lost here the client says itself in STREAM."""
        self.state = GONE
        self.stream.forget()
