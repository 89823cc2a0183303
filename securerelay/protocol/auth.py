"""The AUTH lines: items sealed under a handshake key, always of one length (SR1 section 3)."""

from __future__ import annotations

from collections.abc import Sequence

from securerelay.crypto import primitives
from securerelay.errors import RemoteError
from securerelay.protocol import lines
from securerelay.protocol.items import encode_item
from securerelay.protocol.schedule import key_and_iv
from securerelay.protocol.transcript import Item

FULL_SIZE = 3072
RESUMED_SIZE = 256

_PREFIX = b"SR1 AUTH "
_HEADER = 5


def seal(
    suite: str, secret: bytes, associated: bytes, items: Sequence[tuple[Item, bytes]], resumed: bool
) -> bytes:
    """Return an AUTH line with its LF.

    Args:
        suite: the AEAD agreed on.
        secret: c_hs or s_hs.
        associated: which side speaks.
        items: type and value in the order to send.
        resumed: whether the short form goes out.

    Raises:
        ValueError: if the items do not fit: a certificate that no profile allows.
    """
    size = RESUMED_SIZE if resumed else FULL_SIZE
    plain = b"".join(encode_item(kind, value) for kind, value in items)
    if len(plain) >= size:
        raise ValueError("AUTH items do not fit")
    key, iv = key_and_iv(secret)
    sealed = primitives.seal(primitives.aead(suite, key), iv, plain.ljust(size, b"\0"), associated)
    return _PREFIX + lines.encode(sealed).encode("ascii") + b"\n"


def unseal(
    line: bytes,
    suite: str,
    secret: bytes,
    associated: bytes,
    forms: Sequence[Sequence[Item]],
    resumed: bool,
) -> list[bytes]:
    """Open an AUTH line.

    Args:
        line: without its LF.
        suite: the AEAD agreed on.
        secret: c_hs or s_hs.
        associated: which side spoke.
        forms: the lists of item types that may come; their first items differ.
        resumed: whether the short form belongs here.

    Returns:
        The values of the items, in order; which form it was shows in their number.

    Raises:
        RemoteError: ``bad-line`` or ``protocol`` for a line that is no AUTH of one token; else
            always ``auth-failed``.
    """
    if lines.verb_of(line) != b"AUTH":
        raise RemoteError("protocol", "AUTH belongs here")
    sealed = lines.decode(line[len(_PREFIX) :].decode("ascii"))
    size = RESUMED_SIZE if resumed else FULL_SIZE
    if len(sealed) != size + primitives.TAG_SIZE:
        raise RemoteError("auth-failed", "AUTH of another size")
    key, iv = key_and_iv(secret)
    plain = primitives.unseal(primitives.aead(suite, key), iv, sealed, associated)
    if plain is None:
        raise RemoteError("auth-failed", "AUTH does not open")
    for form in forms:
        if plain[0] == form[0]:
            return _read_items(plain, form)
    raise RemoteError("auth-failed", "an item that does not belong in this AUTH")


def _read_items(plain: bytes, form: Sequence[Item]) -> list[bytes]:
    values = []
    position = 0
    for kind in form:
        end = position + _HEADER + int.from_bytes(plain[position + 1 : position + _HEADER], "big")
        if plain[position : position + 1] != bytes((kind,)):
            raise RemoteError("auth-failed", f"item {kind:#04x} belongs here")
        values.append(plain[position + _HEADER : end])
        position = end
    padding = plain[position:]  # none of it is left if an item ends beyond the line
    if not padding or padding.count(0) != len(padding):
        raise RemoteError("auth-failed", "zeros belong after the items")
    return values
