"""A secret under a passphrase: Argon2id makes the key, AES-256-GCM does the rest (RFC 9106).

Version 1, integers big endian::

    "SRKC" || version 1 || memory in KiB 4 || passes 1 || lanes 1 || salt 16 || nonce 12
           || AES-256-GCM of the secret, with everything before it as associated data

The file is text: this in base64 between two lines of dashes, as with PEM, which also say what the
secret is.
"""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from securerelay.crypto import primitives
from securerelay.errors import KeyFileError, WrongPassphrase

KEY = "KEY"
"""What a secret is unless told otherwise."""

_LINE = 64
_HEADER = struct.Struct(">4sBIBB16s12s")
_MAGIC = b"SRKC"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Cost:
    """What one try of a passphrase costs.

    Args:
        memory: KiB.
        passes: over that memory.
        lanes: threads.
    """

    memory: int = 64 * 1024
    passes: int = 3
    lanes: int = 4

    def bearable(self) -> bool:
        """Tell whether a file may ask this much of us, and Argon2id can be had with it."""
        return (
            8 * self.lanes <= self.memory <= 256 * 1024
            and 1 <= self.passes <= 8
            and 1 <= self.lanes <= 4
        )


DEFAULT_COST = Cost()
"""What new containers cost; tests lower it."""


def is_wrapped(data: bytes, what: str = KEY) -> bool:
    """Tell whether the content of a file looks like what :func:`wrap` makes."""
    return data.lstrip().startswith(_dashes("BEGIN", what))


def wrap(secret: bytes, passphrase: bytes, cost: Cost | None = None, what: str = KEY) -> bytes:
    """Put a secret under a passphrase.

    Args:
        secret: any bytes.
        passphrase: not empty.
        cost: of one try; None for :data:`DEFAULT_COST`.
        what: what the secret is, for people; whoever reads it has to see to that by itself.

    Returns:
        Lines of text for a file.
    """
    cost = cost or DEFAULT_COST
    if not passphrase or not cost.bearable():
        raise ValueError("a passphrase is not empty, and its cost is bounded")
    salt, nonce = primitives.random_bytes(16), primitives.random_bytes(primitives.NONCE_SIZE)
    header = _HEADER.pack(_MAGIC, _VERSION, cost.memory, cost.passes, cost.lanes, salt, nonce)
    cipher = primitives.aead("aes256gcm", _derive(passphrase, salt, cost))
    body = base64.b64encode(header + primitives.seal(cipher, nonce, secret, header))
    lines = (body[at : at + _LINE] for at in range(0, len(body), _LINE))
    return b"\n".join((_dashes("BEGIN", what), *lines, _dashes("END", what), b""))


def unwrap(data: bytes, passphrase: bytes, what: str = KEY) -> bytes:
    """Take a secret out again.

    Args:
        data: what :func:`wrap` made.
        passphrase: the same one.
        what: the same as there.

    Returns:
        The secret.

    Raises:
        WrongPassphrase: if it does not open; a damaged file cannot be told from a wrong passphrase.
        KeyFileError: if it is no such container, of another version, or costs too much.
    """
    raw = _bare(data, what)
    if len(raw) < _HEADER.size + primitives.TAG_SIZE:
        raise KeyFileError("the wrapped key is cut short")
    header, sealed = raw[: _HEADER.size], raw[_HEADER.size :]
    magic, version, memory, passes, lanes, salt, nonce = _HEADER.unpack(header)
    if magic != _MAGIC or version != _VERSION:
        raise KeyFileError("the wrapped key is of a version that this program does not know")
    cost = Cost(memory, passes, lanes)
    if not cost.bearable():
        raise KeyFileError("the wrapped key asks for more memory or time than allowed")
    cipher = primitives.aead("aes256gcm", _derive(passphrase, salt, cost))
    secret = primitives.unseal(cipher, nonce, sealed, header)
    if secret is None:
        raise WrongPassphrase("the passphrase is wrong, or the file is damaged")
    return secret


def _derive(passphrase: bytes, salt: bytes, cost: Cost) -> bytes:
    kdf = Argon2id(
        salt=salt,
        length=primitives.KEY_SIZE,
        iterations=cost.passes,
        lanes=cost.lanes,
        memory_cost=cost.memory,
    )
    return kdf.derive(passphrase)


def _dashes(side: str, what: str) -> bytes:
    return f"-----{side} SECURERELAY WRAPPED {what}-----".encode()


def _bare(data: bytes, what: str) -> bytes:
    lines = data.split()
    begin, end = _dashes("BEGIN", what).split(), _dashes("END", what).split()
    if lines[: len(begin)] != begin or lines[-len(end) :] != end:
        raise KeyFileError("the wrapped key has lost its first or last line")
    try:
        return base64.b64decode(b"".join(lines[len(begin) : -len(end)]), validate=True)
    except binascii.Error:
        raise KeyFileError("the wrapped key is damaged: it is not base64") from None
