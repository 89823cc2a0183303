"""Encrypted records: length, AEAD, padding, and the ratchet of UPDATE (SR1 section 4).

A record is ``length(2) || AEAD(key, iv XOR sequence, content || type || zeros)``, in one of four
sizes. Nothing about a record but its size shows: neither its type nor how much of it is padding.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

from securerelay.crypto import primitives
from securerelay.errors import RemoteError
from securerelay.protocol.schedule import key_and_iv, next_traffic

MAX_CONTENT = 16_383
SIZES = (256, 1024, 4096, 16_384)
"""Bytes of content, type and padding together."""
FIRST_SIZE = 4096
"""The least size of a record that opens a session, so that an ALERT there looks like a WELCOME."""
MAX_RECORDS = 1 << 24
"""Records under one key at most."""

_HEADERS = {size: (size + primitives.TAG_SIZE).to_bytes(2, "big") for size in SIZES}
_LENGTHS = {header: int.from_bytes(header, "big") for header in _HEADERS.values()}


class Kind(enum.IntEnum):
    """The types of records."""

    DATA = 1
    UPDATE = 2
    REKEY = 3
    CLOSE = 4
    ALERT = 5
    WELCOME = 6


_TYPE_BYTES = {int(kind): bytes((kind,)) for kind in Kind}
_DATA = _TYPE_BYTES[Kind.DATA]
_ZEROS = bytes(SIZES[-1])


class BrokenRecord(RemoteError):
    """A record that does not open or has no legal length: the connection ends unanswered."""

    def __init__(self, detail: str) -> None:
        super().__init__("record", detail)


class _Direction:
    """Keys, nonces and count of one direction."""

    __slots__ = ("_cipher", "_iv", "_key", "_secret", "_suite", "sequence")

    def __init__(self, suite: str, secret: bytes) -> None:
        self._suite = suite
        self.install(secret)

    def install(self, secret: bytes) -> None:
        """Go on under another traffic secret, counting from 0."""
        self._key, iv = key_and_iv(secret)
        self._secret = secret
        self._cipher: primitives.Aead | None = primitives.aead(self._suite, self._key)
        self._iv = int.from_bytes(iv, "big")
        self.sequence = 0

    def doze(self) -> None:
        """Let go of the cipher's state, 2.5 KiB, until there is a record again."""
        self._cipher = None

    def _wake(self) -> primitives.Aead:
        self._cipher = cipher = primitives.aead(self._suite, self._key)
        return cipher

    def ratchet(self) -> None:
        """Go on under the next traffic secret; the old one is gone."""
        self.install(next_traffic(self._secret))


class Sealer(_Direction):
    """Makes the records of one direction.

    Args:
        suite: the AEAD agreed on.
        secret: the traffic secret of this direction, 48 bytes.
    """

    __slots__ = ()

    def seal(self, kind: int, content: bytes, least: int = 0) -> bytes:
        """Return one record.

        Args:
            kind: its type.
            content: at most 16,383 bytes.
            least: content, type and padding fill at least so many bytes.

        Raises:
            ValueError: if the content is too long.
        """
        size = len(content) + 1
        if size < least:
            size = least
        if size <= 256:
            size = 256
        elif size <= 1024:
            size = 1024
        elif size <= 4096:
            size = 4096
        elif size <= 16_384:
            size = 16_384
        else:
            raise ValueError("a record's content has at most 16,383 bytes")
        header = _HEADERS[size]
        nonce = (self._iv ^ self.sequence).to_bytes(12, "big")
        self.sequence += 1
        plain = (content + _TYPE_BYTES[kind]).ljust(size, b"\0")
        return header + (self._cipher or self._wake()).encrypt(nonce, plain, header)

    def seal_stream(self, data: bytes) -> bytes:
        """Return the DATA records that carry a stretch of the message stream.

        Args:
            data: any number of bytes but none.
        """
        if len(data) <= MAX_CONTENT:
            return self.seal(1, data)
        return b"".join(
            self.seal(1, data[start : start + MAX_CONTENT])
            for start in range(0, len(data), MAX_CONTENT)
        )


class Opener(_Direction):
    """Opens the records of one direction, whatever segments they come in.

    Args:
        suite: the AEAD agreed on.
        secret: the traffic secret of this direction, 48 bytes.
    """

    __slots__ = ("_partial",)

    def __init__(self, suite: str, secret: bytes) -> None:
        super().__init__(suite, secret)
        self._partial = b""

    def open_all(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield type and content of every record that is complete.

        The caller takes each before asking for the next, so that an UPDATE or REKEY between two
        records acts on the second.  Bytes of an incomplete record, at most 16,402, are kept for the
        next call.

        Args:
            data: what came, in any segments.

        Raises:
            BrokenRecord: at the first that has an illegal length, does not open or has no type.
        """
        if self._partial:
            data = self._partial + data
            self._partial = b""
        position, end = 0, len(data)
        while end - position >= 2:
            header = data[position : position + 2]
            length = _LENGTHS.get(header)
            if length is None:
                raise BrokenRecord(f"length {int.from_bytes(header, 'big')}")
            after = position + 2 + length
            if after > end:
                break
            nonce = (self._iv ^ self.sequence).to_bytes(12, "big")
            cipher = self._cipher or self._wake()
            try:
                plain = cipher.decrypt(nonce, data[position + 2 : after], header)
            except primitives.InvalidTag:
                raise BrokenRecord("does not open") from None
            self.sequence += 1
            # Most often the type is DATA, and where it is not, ``rstrip`` takes 5 ns a zero.
            size = plain.rfind(_DATA)
            if size < 0 or not _ZEROS.startswith(plain[size + 1 :]):
                size = len(plain.rstrip(b"\0")) - 1
                if size < 0:
                    raise BrokenRecord("no type")
            position = after
            yield plain[size], plain[:size]
        self._partial = data[position:]
