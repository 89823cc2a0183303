"""What a profile remembers of the messages it sent, as plain facts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from securerelay.protocol.items import u64
from securerelay.sealing.plaintext import STREAM_SIZE, Place

QUEUED, ACCEPTED, DELIVERED, EXPIRED, REFUSED, READ = range(6)
STATES = ("queued", "accepted", "delivered", "expired", "refused", "read")
"""What becomes of a message: ``queued`` until the relay has answered for it, ``accepted`` by the
relay, ``delivered`` when a recipient's client has acknowledged it, ``expired`` when its time ran
out before, ``refused`` by the relay for good.  All of that is the relay's word; ``read`` is the
recipient's own.
"""

UNCONFIRMED = "unconfirmed"
"""The code of a message that may have arrived or not, because the relay forgot its stream before it
had answered; to send it again is left to its sender.
"""
NOT_STORED = "not-stored"


class Outgoing(NamedTuple):
    """A message to journal, or one read from the journal; many are made, so it is a tuple.

    Attributes:
        seq: its number in its stream.
        to: the recipient.
        ttl: seconds; None for the relay's default.
        receipt: whether the recipient's acknowledgement shall be told.
        body: what to carry; wrapped in form 1.
        size: bytes of what was given to send; None if that is the body.
        form: 0 if the body is what the relay will carry, 1 if it is a letter to be sealed, 2 if
            that is not for people.
        place: its number among those of the stream to the same recipient; 0 for none.
        bound: for whom it is sealed; None if that is not fixed yet.
        replaces: the place (stream, seq, index) of the message that it stands for, 32 bytes.
    """

    seq: int
    to: str
    ttl: int | None
    receipt: bool
    body: bytes
    size: int | None = None
    form: int = 0
    place: int = 0
    bound: bytes | None = None
    replaces: bytes | None = None


class Move(NamedTuple):
    """A message that goes on under another number.

    Attributes:
        stream: the one it was in.
        seq: its number there.
        new: its number now, in the stream of the change.
        place: its number there among those to the same recipient.
        bound: for whom it is sealed; None if that is not fixed yet.
        replaces: as in :class:`Outgoing`.
    """

    stream: str
    seq: int
    new: int
    place: int = 0
    bound: bytes | None = None
    replaces: bytes | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one message, or of a stretch of messages.

    Attributes:
        state: an index into :data:`STATES`.
        first: the first message's seq.
        last: the last one's.
        time: when, Unix ms.
        code: why, if refused.
        peer: the one recipient that it is about, if it is not about all.
    """

    state: int
    first: int
    last: int
    time: int
    code: str | None = None
    peer: str | None = None


@dataclass(frozen=True, slots=True)
class Renewal:
    """Goes on in another stream, since the relay takes no more in the old one.

    Attributes:
        old: the stream that is over.
        unconfirmed: seqs of the old stream that are not sent again.
        time: when, Unix ms.
    """

    old: str
    unconfirmed: tuple[int, ...]
    time: int


@dataclass(slots=True)
class Change:
    """What one turn of the reactor did to a stream.

    Attributes:
        stream: its name.
        owner: the owner's name.
        time: when, Unix ms.
        outgoing: messages to journal.
        last: the highest seq that is on disk after this change.
        written: the highest seq that may be written after this change; 0 for no change.
        verdicts: in the order in which they came.
        answered: the seq up to which every verdict is known.
        moves: messages that come over from other streams, before anything else.
        renewal: ends the stream that this one follows.
        bounds: for whom messages are sealed, by seq, where that was not fixed before.
        held: whether the stream is never opened at the relay.
    """

    stream: str
    owner: str
    time: int
    outgoing: list[Outgoing] = field(default_factory=list)
    last: int = 0
    written: int = 0
    verdicts: list[Verdict] = field(default_factory=list)
    answered: int = 0
    moves: list[Move] = field(default_factory=list)
    renewal: Renewal | None = None
    bounds: list[tuple[int, bytes]] = field(default_factory=list)
    held: bool = False


@dataclass(frozen=True, slots=True)
class Left:
    """A stream in which something is still to be done or heard.

    Attributes:
        stream: its name.
        owner: the owner's name.
        answered: the seq up to which every verdict is known.
        last: the highest seq journaled.
        written: the highest seq that the relay may have seen.
        keyed: whether a key names its one message, which stays where it is.
    """

    stream: str
    owner: str
    answered: int
    last: int
    written: int
    keyed: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """What is remembered of a message.

    Attributes:
        stream: its stream.
        seq: its number in it.
        to: the recipient.
        size: bytes of its body.
        state: one of :data:`STATES`.
        queued: when it was journaled, Unix ms.
        settled: when the relay's verdict came; None before.
        delivered: when it was acknowledged, as the relay says; None before.
        code: why it was refused; None if it was not.
        missed: the members of a room that do not get it, each with the reason.
        read: when its recipient said that it was read; None before.
    """

    stream: str
    seq: int
    to: str
    size: int
    state: str
    queued: int
    settled: int | None
    delivered: int | None
    code: str | None
    missed: dict[str, str] = field(default_factory=dict)
    read: int | None = None


def pack_place(place: Place | None) -> bytes | None:
    """Return a place as it is journaled, 32 bytes."""
    return None if place is None else place.stream + u64(place.seq) + u64(place.index)


def unpack_place(packed: bytes | None) -> Place | None:
    """Read what :func:`pack_place` made."""
    if packed is None:
        return None
    seq, index = packed[STREAM_SIZE : STREAM_SIZE + 8], packed[STREAM_SIZE + 8 :]
    return Place(packed[:STREAM_SIZE], int.from_bytes(seq, "big"), int.from_bytes(index, "big"))
