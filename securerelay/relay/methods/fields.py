"""Reading the parameters of a call: each by its type, or refused by its name."""

from __future__ import annotations

from typing import Any

from securerelay.errors import Refused


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


def only(parameters: dict[str, Any], *known: str) -> None:
    """Refuse parameters that the method does not have, so that a misspelt one is noticed.

    Raises:
        Refused: ``bad-request``.
    """
    for key in parameters:
        if key not in known:
            raise Refused("bad-request", f"there is no parameter {key[:64]!a}")
