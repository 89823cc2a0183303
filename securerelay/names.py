"""Names of peers and rooms: grammar, reserved words, and which look alike (SR1 section 5).

A name that breaks the grammar is refused, never folded: ``Alice`` does not become ``alice``, so
that two people can never mean different peers by what one program treats as the same name.
"""

from __future__ import annotations

import re

from securerelay.errors import BadName

MAX_LENGTH = 32

_GRAMMAR = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,30}[a-z0-9])?", re.ASCII)
_GRAMMAR_BYTES = re.compile(rb"[a-z0-9](?:[a-z0-9._-]{0,30}[a-z0-9])?")

RESERVED = frozenset(
    {
        "admin",
        "administrator",
        "all",
        "anonymous",
        "anyone",
        "authority",
        "ca",
        "daemon",
        "everyone",
    }
    | {"localhost", "me", "nobody", "relay", "root", "room", "securerelay", "self", "server"}
    | {"system", "unknown"}
)
"""Names that no peer may have, because people would read authority or a crowd into them."""

_LOOKALIKES = str.maketrans({"0": "o", "1": "l", ".": "-", "_": "-", "m": "rn", "w": "vv"})


def is_peer(name: bytes) -> bool:
    """Tell whether bytes from the wire are a peer's name.

    Args:
        name: the token as received.

    Returns:
        True if it follows the grammar; reserved words follow it too.
    """
    return _GRAMMAR_BYTES.fullmatch(name) is not None


def is_room(name: bytes) -> bool:
    """Tell whether bytes from the wire are a room's name: ``@`` and what a peer's may be."""
    return name[:1] == b"@" and _GRAMMAR_BYTES.fullmatch(name, 1) is not None


def check_peer(name: str) -> str:
    """Return a peer's name unchanged, or say what is wrong with it.

    Args:
        name: what somebody typed or sent.

    Returns:
        The same name.

    Raises:
        BadName: if it breaks the grammar.
    """
    if not _GRAMMAR.fullmatch(name):
        raise BadName(
            f"{name!a} is no name: 1 to {MAX_LENGTH} of a-z, 0-9, dot, underscore and hyphen, "
            "beginning and ending with a letter or digit"
        )
    return name


def check_new_peer(name: str) -> str:
    """As :func:`check_peer`, for a name that is about to be given to somebody.

    Raises:
        BadName: if it breaks the grammar or is reserved.
    """
    if check_peer(name) in RESERVED:
        raise BadName(f"the name {name!a} is reserved; choose another")
    return name


def check_room(name: str) -> str:
    """Return a room's name unchanged, or say what is wrong with it.

    Raises:
        BadName: if it is not ``@`` followed by what a peer's name may be.
    """
    if name[:1] != "@":
        raise BadName(f"{name!a} is no room: a room's name begins with @")
    check_peer(name[1:])
    return name


def check_new_room(name: str) -> str:
    """As :func:`check_room`, for a room that is about to be made.

    Raises:
        BadName: if it breaks the grammar or is reserved.
    """
    if check_room(name)[1:] in RESERVED:
        raise BadName(f"the name {name!a} is reserved; choose another")
    return name


def is_reserved(name: str) -> bool:
    """Tell whether a name is kept from everybody."""
    return name in RESERVED


def skeleton(name: str) -> str:
    """Fold a name to what the eye sees of it.

    Two names with one skeleton are too easily taken for each other to exist side by side, as with
    the skeletons of Unicode Technical Standard 39, here for the few characters a name can have.

    Args:
        name: a valid name.

    Returns:
        A string to compare; never shown, never a name itself.
    """
    return name.translate(_LOOKALIKES)
