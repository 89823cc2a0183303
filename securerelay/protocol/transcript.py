"""The transcript: one hash over everything both sides said, in typed items (SR1 section 3).

The value of an item is the raw bytes as they were received.
"""

from __future__ import annotations

import enum
import hashlib

from securerelay.crypto import contexts
from securerelay.protocol.items import encode_item


class Item(enum.IntEnum):
    """The types of items, in transcripts and in AUTH."""

    C1 = 0x01
    S1 = 0x02
    EE = 0x03
    SCERT = 0x04
    SSIG = 0x05
    SFIN = 0x06
    CCERT = 0x07
    CSIG = 0x08
    CFIN = 0x09
    INVITE = 0x0A
    NEWKEY = 0x0B
    POSSESSION = 0x0C
    INVITESIG = 0x0D
    FIRST_C1 = 0x10
    RETRY = 0x11
    PARTIAL_C1 = 0x12
    REKEY_EXPORTER = 0x20
    REKEY_CLIENT = 0x21
    REKEY_RELAY = 0x22


class Transcript:
    """A running SHA-384 over items."""

    __slots__ = ("_hash",)

    def __init__(self) -> None:
        self._hash = hashlib.sha384(contexts.TRANSCRIPT + b"\0")

    def add(self, kind: Item, value: bytes) -> bytes:
        """Append an item.

        Args:
            kind: what it is.
            value: its raw bytes; a line without its LF.

        Returns:
            The hash of everything up to and with this item, 48 bytes.
        """
        self._hash.update(encode_item(kind, value))
        return self._hash.digest()

    def digest(self) -> bytes:
        """Return the hash of everything so far, 48 bytes."""
        return self._hash.digest()

    def copy(self) -> Transcript:
        """Return a transcript that goes on from here on its own."""
        other = Transcript()
        other._hash = self._hash.copy()
        return other
