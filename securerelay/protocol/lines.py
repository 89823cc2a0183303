"""Handshake lines: a bounded splitter, and strict reading and writing of fields (SR1 section 2).

A line is ``SR1 VERB fields LF`` of visible ASCII and single spaces.  Whatever a stranger sends, and
however it is cut into segments, a line costs time in proportion to its bytes and memory of at most
one line.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence

from securerelay.errors import RemoteError

MAX_LINE = 4128
"""Bytes of the longest line, its LF included."""
MAX_TOTAL = 3 * MAX_LINE
"""Bytes that either side reads in lines at most: three lines is all a handshake has."""

_VISIBLE = bytes(range(0x20, 0x7F))
_VERB = re.compile(rb"SR1 ([A-Z]{1,16})(?: |$)")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_LIST_NAME = re.compile(r"[a-z0-9-]{1,32}", re.ASCII)
_MAX_LIST = 8


class LineSplitter:
    """Cuts bytes into lines, looking once at each byte, whatever the segments."""

    __slots__ = ("_buffer", "_scanned", "_taken")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._taken = 0

    def feed(self, data: bytes) -> None:
        """Add what came."""
        self._buffer += data

    def next(self) -> bytes | None:
        """Return the next line without its LF, or None while it is incomplete.

        Raises:
            RemoteError: ``bad-line`` at the first byte that no line has, ``too-long`` at the first
                byte too many.
        """
        limit = min(len(self._buffer), MAX_LINE)
        others = self._buffer[self._scanned : limit].translate(None, _VISIBLE)
        if not others:
            if limit == MAX_LINE:
                raise RemoteError("too-long", "no end of line")
            self._scanned = limit
            return None
        if others[0] != 0x0A:
            raise RemoteError("bad-line", f"byte {others[0]:#04x}")
        end = self._buffer.index(b"\n", self._scanned)
        self._taken += end + 1
        if self._taken > MAX_TOTAL:
            raise RemoteError("too-long", "more than a handshake")
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._scanned = 0
        return line

    def __len__(self) -> int:
        return len(self._buffer)

    def rest(self) -> bytes:
        """Hand over what came after the last line: the first bytes of the records."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest


def is_whole(data: bytes) -> bool:
    """Tell whether these bytes are one line with its LF, and nothing but bytes that lines have."""
    return data.endswith(b"\n") and data.translate(None, _VISIBLE) == b"\n"


def verb_of(line: bytes) -> bytes:
    """Return the verb of a line.

    Raises:
        RemoteError: ``bad-line`` if this is no SR1 line at all.
    """
    match = _VERB.match(line)
    if match is None:
        raise RemoteError("bad-line", "not an SR1 line")
    return match.group(1)


def fields(line: bytes, *names: str) -> dict[str, str]:
    """Read the fields of a line, which must come in this order and no others.

    Args:
        line: a line without its LF.
        names: the fields; one that may be absent ends with a question mark.

    Returns:
        The values of those that are there.

    Raises:
        RemoteError: ``bad-line`` for anything missing, extra, empty or out of order.
    """
    words = line.decode("ascii").split(" ")[2:]
    found: dict[str, str] = {}
    position = 0
    for name in names:
        key = name.rstrip("?")
        word = words[position] if position < len(words) else ""
        if word.startswith(key + "=") and len(word) > len(key) + 1:
            found[key] = word[len(key) + 1 :]
            position += 1
        elif not name.endswith("?"):
            raise RemoteError("bad-line", f"no {key}")
    if position != len(words):
        raise RemoteError("bad-line", "a field too many")
    return found


def encode(data: bytes) -> str:
    """Return base64url without padding (RFC 4648 section 5)."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").translate(_TO_URL).decode("ascii")


_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_+/=", b"+/???")  # and what only the other alphabet has into junk


def decode(text: str, length: int | None = None) -> bytes:
    """Read base64url in its one canonical form.

    Args:
        text: visible ASCII.
        length: how many bytes it must give; None for any number but none.

    Raises:
        RemoteError: ``bad-line`` if another text stands for the same bytes, or the length is wrong.
    """
    raw = text.encode("ascii", "replace").translate(_FROM_URL)
    raw += b"=" * (-len(raw) % 4)
    try:
        data = binascii.a2b_base64(raw)
    except binascii.Error as error:
        raise RemoteError("bad-line", "not base64url") from error
    # Junk that the decoder passed over shows here too.
    if binascii.b2a_base64(data, newline=False) != raw or not data:
        raise RemoteError("bad-line", "not canonical base64url")
    if length is not None and len(data) != length:
        raise RemoteError("bad-line", f"{len(data)} bytes where {length} belong")
    return data


def decode_list(text: str) -> tuple[str, ...]:
    """Read a list of 1 to 8 distinct names.

    Raises:
        RemoteError: ``bad-line`` otherwise.
    """
    names = tuple(text.split(","))
    if len(names) > _MAX_LIST or len(set(names)) != len(names):
        raise RemoteError("bad-line", "a list of 1 to 8 distinct names belongs here")
    if not all(_LIST_NAME.fullmatch(name) for name in names):
        raise RemoteError("bad-line", "not a name of a suite or group")
    return names


def decode_share(text: str) -> tuple[str, bytes]:
    """Read ``<group>:<share>``.

    Raises:
        RemoteError: ``bad-line`` if it is none.
    """
    group, colon, share = text.partition(":")
    if not colon or not _LIST_NAME.fullmatch(group):
        raise RemoteError("bad-line", "not a share")
    return group, decode(share)


def decode_number(text: str) -> int:
    """Read a decimal number in its one form, less than 10^19.

    Raises:
        RemoteError: ``bad-line`` for what ``int()`` alone would also take.
    """
    if not _NUMBER.fullmatch(text):
        raise RemoteError("bad-line", "not a number")
    return int(text)


def line(verb: str, words: Sequence[str]) -> bytes:
    """Write a line with its LF."""
    return " ".join(("SR1", verb, *words)).encode("ascii") + b"\n"
