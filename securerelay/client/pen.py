"""How an outbox puts a message into words: this pen writes the body as it was given.

:class:`securerelay.client.sealing.pen.SealingPen` writes envelopes.
"""

from __future__ import annotations

import typing

from securerelay.client.changes import pack
from securerelay.client.entry import Entry
from securerelay.client.rows import Move, Outgoing

if typing.TYPE_CHECKING:
    from securerelay.client.outbox import Outbox


class Pen:
    """The pen of one outbox."""

    def attach(self, outbox: Outbox) -> None:
        """An outbox takes up the pen."""

    def detach(self) -> None:
        """Its outbox writes no more."""

    def begin(self, stream: bytes) -> None:
        """A new stream begins."""

    def recall(self, refused: dict[str, list[int]]) -> None:
        """Learn what an earlier program was refused in this stream.

        Args:
            refused: numbers among those to the same recipient, by recipient.
        """

    def number(self, entry: Entry) -> None:
        """A message got its seq."""

    def pack(self, entry: Entry) -> Outgoing:
        """Return what is journaled of a message."""
        return pack(entry)

    def unpack(self, message: Outgoing) -> Entry:
        """Return a message that was journaled."""
        return Entry(
            message.to.encode(),
            message.body,
            message.ttl,
            message.receipt,
            seq=message.seq,
            journaled=True,
        )

    def move(self, entry: Entry, stream: str, seq: int) -> Move:
        """Return how a message gets the number that it has now.

        Args:
            entry: the message.
            stream: the one it was in.
            seq: its number there.
        """
        return Move(stream, seq, entry.seq)

    def body(self, entry: Entry) -> bytes | None:
        """Return what the relay will carry; None if it cannot be said at this moment."""
        return entry.body

    def gone(self, entry: Entry) -> None:
        """A message will not come under its seq any more."""

    def leaves(self, entry: Entry, seen: bool) -> None:
        """A message goes on in another stream.

        Args:
            entry: with the seq it had.
            seen: whether the relay may have seen it under that.
        """

    def doubt(self, entry: Entry, code: str) -> None:
        """The relay refused a message for now."""

    @property
    def full(self) -> bool:
        """Whether so many are gone that a new stream is needed."""
        return False
