"""One message on its way, and what its sender is told in the end."""

from __future__ import annotations

import typing
from dataclasses import dataclass

from twisted.internet.defer import Deferred

from securerelay.sealing.plaintext import Place

Wait = typing.Literal["queued", "accepted", "delivered"]
"""How long a sender waits: until the message is on this machine's disk, until the relay has it, or
until the recipient's client has acknowledged it.
"""

Fate = typing.Literal["unsent", "sent", "queued", "accepted"]
"""What is known of a message that nobody waits for any longer: it certainly never left; it may have
arrived; it stays in the outbox; the relay has it.
"""

NOBODY = b"nobody"
"""A reserved name, which no peer can ever have: the relay refuses what is sent there for good."""


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
class Letter:
    """What a message that is sealed has besides.

    Attributes:
        content_type: what the body is.
        time: when it was given to send, Unix ms.
        index: its number in the stream among those to the same recipient; 0 for none.
        bound: for whom it is sealed; empty before that is fixed, and never another afterwards.
        replaces: the message that it stands for.
        hidden: whether it is not for people, but for another client.
        heads: what it tells of other streams if its index is 1; None before that is known.
        sealed: the envelope that was made last; empty before.
        sealed_by: with whose keys; what they sealed is written again as it is while they are good.
    """

    content_type: str
    time: int
    index: int = 0
    bound: bytes = b""
    replaces: Place | None = None
    hidden: bool = False
    heads: tuple[tuple[bytes, int], ...] | None = None
    sealed: bytes = b""
    sealed_by: object = None


@dataclass(slots=True, eq=False)
class Entry:
    """One message on its way.

    Attributes:
        to: the recipient, a peer or a room.
        body: what the relay will carry.
        ttl: seconds that the relay keeps it; None for the relay's default, 0 for live delivery
            only.
        receipt: whether the recipient's acknowledgement shall be told.
        until: what ``done`` waits for.
        done: fires with :class:`Sent` or fails with :class:`Refused`; None when nobody waits for
            the verdict.
        seq: its number in the stream; 0 before it has one.
        journaled: whether it is on disk, or on its way there.
        delivered: when it was acknowledged, Unix milliseconds.
        letter: what it has besides if it is sealed; None to have the relay carry the body as it is.
        pending: whether the disk has to hear something before it is written.
    """

    to: bytes
    body: bytes
    ttl: int | None
    receipt: bool
    until: Wait = "accepted"
    done: Deferred[Sent] | None = None
    seq: int = 0
    journaled: bool = False
    delivered: int | None = None
    letter: Letter | None = None
    pending: bool = False

    def blank(self) -> None:
        """Give the message up, but not its number, which the stream cannot do without.

        What is left is refused by the relay for good, and reaches nobody.
        """
        self.to, self.body, self.ttl = NOBODY, b"", 0
        self.receipt = self.journaled = False
        self.letter = None

    @property
    def is_blank(self) -> bool:
        """Whether it was given up."""
        return self.to == NOBODY and self.ttl == 0 and not self.body
