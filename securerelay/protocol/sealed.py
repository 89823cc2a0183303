"""What anybody sees of a sealed body: its header (SR1 sealing).

The relay looks no further than whether a body is sealed; the receiver finds its keys by the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from securerelay.errors import RemoteError

MAGIC = b"SRE1"
DIRECT = 1
"""The suite of envelopes for one peer: HPKE, Ed25519."""
ROOM = 2
"""The suite of messages for a room: AES-256-GCM under a room key, Ed25519."""
SUITES = (DIRECT, ROOM)
HPKE_OVERHEAD = 1136
TAG_SIZE = 16
SMALLEST = 256
"""Bytes of the smallest plaintext, padding included."""

_SENDER = slice(5, 13)


@dataclass(frozen=True, slots=True)
class DirectHeader:
    """The header of an envelope for one peer.

    Args:
        sender_id: the first 8 bytes of the sender's fingerprint.
        prekey_id: 8 bytes.
    """

    SIZE: ClassVar[int] = 21
    sender_id: bytes
    prekey_id: bytes

    def encode(self) -> bytes:
        """Return the 21 bytes that the envelope begins with."""
        return MAGIC + bytes((DIRECT,)) + self.sender_id + self.prekey_id


@dataclass(frozen=True, slots=True)
class RoomHeader:
    """The header of a message for a room.

    Args:
        sender_id: the first 8 bytes of the sender's fingerprint.
        key_id: of the room key, 16 bytes.
        version: of the membership list.
        salt: 32 random bytes.
    """

    SIZE: ClassVar[int] = 69
    VERSION: ClassVar[slice] = slice(29, 37)
    sender_id: bytes
    key_id: bytes
    version: int
    salt: bytes

    def encode(self) -> bytes:
        """Return the 69 bytes that the message begins with."""
        head = MAGIC + bytes((ROOM,)) + self.sender_id + self.key_id
        return head + self.version.to_bytes(8, "big") + self.salt


def is_sealed(body: bytes) -> bool:
    """Tell whether a body is sealed, as far as can be told without keys."""
    try:
        read_header(body)
    except RemoteError:
        return False
    return True


def read_header(body: bytes) -> DirectHeader | RoomHeader:
    """Return the header of a sealed body.

    Raises:
        RemoteError: ``unsealed`` if it does not begin like one of a known suite, or is shorter than
            the shortest.
    """
    if body[:4] == MAGIC and len(body) > 4:
        suite = body[4]
        if suite == DIRECT and len(body) >= DirectHeader.SIZE + HPKE_OVERHEAD + SMALLEST:
            return DirectHeader(body[_SENDER], body[13:21])
        if suite == ROOM and len(body) >= RoomHeader.SIZE + TAG_SIZE + SMALLEST:
            version = int.from_bytes(body[RoomHeader.VERSION], "big")
            return RoomHeader(body[_SENDER], body[13:29], version, body[37:69])
    raise RemoteError("unsealed", "no envelope of a known suite")
