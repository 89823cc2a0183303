"""Reading the parameters of a call: each by its type, or refused by its name."""

from __future__ import annotations

from typing import Any

from securerelay import names
from securerelay.errors import Refused, RemoteError
from securerelay.protocol.lines import decode


def text(parameters: dict[str, Any], key: str, default: str | None = None) -> str:
    """Read a string.

    Raises:
        Refused: ``bad-request`` if it is none, or missing without a default.
    """
    value = parameters.get(key, default)
    if not isinstance(value, str):
        raise Refused("bad-request", f"{key} must be a string")
    return value


def number(parameters: dict[str, Any], key: str, default: int, least: int, most: int) -> int:
    """Read a whole number within bounds, both included.

    Raises:
        Refused: ``bad-request``.
    """
    value = parameters.get(key, default)
    if type(value) is not int or not least <= value <= most:
        raise Refused("bad-request", f"{key} must be a whole number from {least} to {most}")
    return value


def flag(parameters: dict[str, Any], key: str) -> bool:
    """Read a truth value, false if it is missing.

    Raises:
        Refused: ``bad-request``.
    """
    value = parameters.get(key, False)
    if type(value) is not bool:
        raise Refused("bad-request", f"{key} must be true or false")
    return value


def octets(parameters: dict[str, Any], key: str, most: int) -> bytes:
    """Read bytes, written as base64url.

    Raises:
        Refused: ``too-large`` above ``most`` bytes, else ``bad-request``.
    """
    value = text(parameters, key)
    if len(value) > (most * 4 + 2) // 3:
        raise Refused("too-large", f"{key} may have {most} bytes")
    try:
        return decode(value)
    except RemoteError:
        raise Refused("bad-request", f"{key} must be base64url") from None


def peers(parameters: dict[str, Any], most: int) -> list[str]:
    """Read the list of names ``peers``, at least one.

    Raises:
        Refused: ``bad-request``.
        BadName: if one can be nobody's.
    """
    value = parameters.get("peers")
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise Refused("bad-request", "peers must be a list of names")
    if not 1 <= len(value) <= most:
        raise Refused("bad-request", f"peers must be 1 to {most} names")
    return [names.check_peer(name) for name in value]


def only(parameters: dict[str, Any], *known: str) -> None:
    """Refuse parameters that the method does not have, so that a misspelt one is noticed.

    Raises:
        Refused: ``bad-request``.
    """
    for key in parameters:
        if key not in known:
            raise Refused("bad-request", f"there is no parameter {key[:64]!a}")
