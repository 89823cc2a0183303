"""What clients say to each other unseen: please send again, please send the key, I have read it.

All of it travels as the body of direct envelopes, told apart by content type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from securerelay.protocol.items import Field, Form, exactly, number, u64
from securerelay.sealing.plaintext import STREAM_SIZE
from securerelay.sealing.roomlist import ROOM_ID_SIZE, RoomList
from securerelay.sealing.verdicts import Verdict, read, require

KEPT = 16 * 86_400_000
"""Milliseconds for which a sender can send a message again, and a receiver waits for a key."""
KEY_REQUEST_AFTER = 10_000
"""Milliseconds that a room message waits before its key is asked for."""
KEY_REQUESTS_A_DAY = 3

_DAY = 86_400_000
_FIRST = Field(8, 8, optional=True, number=True)
_READ_FORM = Form({0x01: exactly(STREAM_SIZE), 0x02: number(), 0x03: _FIRST})
_RESEND_FORM = Form({0x01: exactly(STREAM_SIZE), 0x02: number(), 0x03: number()})
_KEY_FORM = Form({0x01: exactly(ROOM_ID_SIZE), 0x02: exactly(16)})


@dataclass(frozen=True, slots=True)
class Resend:
    """Asks a sender for a message that did not open.

    Args:
        stream: of the message, 16 bytes.
        seq: of the message.
        bundle: the number of the asker's newest bundle, to seal with.
    """

    CONTENT_TYPE: ClassVar[str] = "application/vnd.securerelay.resend"
    stream: bytes
    seq: int
    bundle: int

    def body(self) -> bytes:
        """Return the body."""
        return _RESEND_FORM.write({0x01: self.stream, 0x02: u64(self.seq), 0x03: u64(self.bundle)})

    @classmethod
    def read(cls, body: bytes) -> Resend:
        """Read a body.

        Raises:
            Rejected: ``altered``.
        """
        items = read(_RESEND_FORM, body, Verdict.ALTERED)
        return cls(items.values[0x01], items.number(0x02), items.number(0x03))


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """Asks a member for the room key that its messages name.

    Args:
        room_id: 16 bytes.
        key_id: 16 bytes.
    """

    CONTENT_TYPE: ClassVar[str] = "application/vnd.securerelay.key-request"
    room_id: bytes
    key_id: bytes

    def body(self) -> bytes:
        """Return the body."""
        return _KEY_FORM.write({0x01: self.room_id, 0x02: self.key_id})

    @classmethod
    def read(cls, body: bytes) -> KeyRequest:
        """Read a body.

        Raises:
            Rejected: ``altered``.
        """
        values = read(_KEY_FORM, body, Verdict.ALTERED).values
        return cls(values[0x01], values[0x02])


@dataclass(frozen=True, slots=True)
class Read:
    """Tells a sender that messages of its were read: one, or some that follow each other.

    Args:
        stream: of the messages, 16 bytes.
        index: of the last of them.
        first: the index of the first; 0 if there is but one.
    """

    CONTENT_TYPE: ClassVar[str] = "application/vnd.securerelay.read"
    stream: bytes
    index: int
    first: int = 0

    def body(self) -> bytes:
        """Return the body."""
        values = {0x01: self.stream, 0x02: u64(self.index)}
        return _READ_FORM.write({**values, 0x03: u64(self.first)} if self.first else values)

    @classmethod
    def read(cls, body: bytes) -> Read:
        """Read a body.

        Raises:
            Rejected: ``altered``.
        """
        items = read(_READ_FORM, body, Verdict.ALTERED)
        first = items.number(0x03) if 0x03 in items.values else 0
        index = items.number(0x02)
        run = 0x03 not in items.values or 0 < first < index
        require(index > 0 and run, Verdict.ALTERED, "no such indices")
        return cls(items.values[0x01], index, first)


def may_resend(sealed_for: bytes, asker: bytes, sent: int, now: int) -> bool | None:
    """Tell whether a message is sent again to who asks for it.

    Args:
        sealed_for: the fingerprint it was sealed for.
        asker: the fingerprint that signed the request.
        sent: when it was first sent, Unix ms.
        now: Unix ms.

    Returns:
        True; False if it is too old; None if it is for the user to say, since it was sealed for
        somebody with another key.
    """
    if now - sent >= KEPT:
        return False
    return True if sealed_for == asker else None


def may_ask_for_key(waiting_since: int, asked: tuple[int, ...], now: int) -> bool:
    """Tell whether it is time to ask for a room key.

    Args:
        waiting_since: when the first message under it came, Unix ms.
        asked: when it was asked for before, Unix ms.
        now: Unix ms.
    """
    today = sum(now - when < _DAY for when in asked)
    return KEY_REQUEST_AFTER <= now - waiting_since < KEPT and today < KEY_REQUESTS_A_DAY


def may_answer_key(asker: bytes, of_key: RoomList, newest: RoomList) -> bool:
    """Tell whether a room key is sent to who asks: a member when it was made, and still one.

    Args:
        asker: the fingerprint that signed the request.
        of_key: the list that the key is for.
        newest: the newest list of the room.
    """
    return of_key.room_id == newest.room_id and of_key.has(asker) and newest.has(asker)
