"""What a value in the configuration file may be: one small class per kind of value.

A check turns what TOML gave into what the relay uses, or raises :class:`Wrong` with what is
allowed. TOML's types are taken at their word: ``"30"`` is no number and ``true`` is not 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from securerelay.errors import BadName
from securerelay.identity.invitation import parse_address
from securerelay.names import check_peer, check_room


class Wrong(Exception):
    """A value is not allowed.

    Args:
        allowed: what is, to follow "must be".
        value: the offending part, if it is not the whole value.
    """

    def __init__(self, allowed: str, value: object = None):
        super().__init__(allowed)
        self.allowed = allowed
        self.value = value


class Check(Protocol):
    """Reads one value."""

    def __call__(self, value: Any) -> Any:
        """Return what the relay uses, or raise :class:`Wrong`."""


@dataclass(frozen=True, slots=True)
class Number:
    """A whole number within bounds, both included."""

    least: int
    most: int

    def __call__(self, value: Any) -> int:
        """Read it."""
        if type(value) is not int or not self.least <= value <= self.most:
            raise Wrong(f"a whole number from {self.least} to {self.most}")
        return value


@dataclass(frozen=True, slots=True)
class Flag:
    """Yes or no."""

    def __call__(self, value: Any) -> bool:
        """Read it."""
        if not isinstance(value, bool):
            raise Wrong("true or false")
        return value


@dataclass(frozen=True, slots=True)
class Text:
    """A string that is not empty."""

    def __call__(self, value: Any) -> str:
        """Read it."""
        if not isinstance(value, str) or not value or "\0" in value:
            raise Wrong("a string that is not empty")
        return value


@dataclass(frozen=True, slots=True)
class PathText:
    """A path; ``~`` is the home folder."""

    def __call__(self, value: Any) -> Path:
        """Read it."""
        if not isinstance(value, str) or not value or "\0" in value:
            raise Wrong("a path as a string")
        return Path(value).expanduser()


@dataclass(frozen=True, slots=True)
class PeerName:
    """A name that a peer or a relay can have."""

    def __call__(self, value: Any) -> str:
        """Read it."""
        try:
            return check_peer(value)
        except (BadName, TypeError) as error:
            raise Wrong("a name: 1 to 32 of a-z, 0-9, dot, underscore and hyphen") from error


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    def __call__(self, value: Any) -> str:
        """Read it."""
        if not isinstance(value, str) or value not in self.words:
            raise Wrong(" or ".join(f'"{word}"' for word in self.words))
        return value


@dataclass(frozen=True, slots=True)
class Choices:
    """A list of some of a few words, each at most once, in the order of preference."""

    words: tuple[str, ...]

    def __call__(self, value: Any) -> tuple[str, ...]:
        """Read it."""
        allowed = "a list of at least one of " + ", ".join(f'"{word}"' for word in self.words)
        for word in _strings(value, allowed):
            if word not in self.words:
                raise Wrong(allowed, word)
        if not value or len(set(value)) < len(value):
            raise Wrong(allowed + ", each once")
        return tuple(value)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """A list of Twisted endpoint strings; bare digits are a TCP port."""

    def __call__(self, value: Any) -> tuple[str, ...]:
        """Read it."""
        return tuple(endpoint(text) for text in _strings(value, ENDPOINTS))


ENDPOINTS = (
    'a list of ports or Twisted endpoint strings, such as ["3000", "tcp:3000:interface=127.0.0.1"]'
)


def endpoint(text: str) -> str:
    """Complete an endpoint: ``3000`` becomes ``tcp:3000``.

    Args:
        text: digits, or a Twisted endpoint string, which is left alone.

    Returns:
        A Twisted endpoint string.

    Raises:
        Wrong: if it is neither.
    """
    if re.fullmatch("[0-9]{1,5}", text):
        text = f"tcp:{int(text)}"
    port = re.fullmatch(r"(?:tcp6?|ssl):([^:]*)(?::.*)?", text)
    if port is not None and not (port[1].isascii() and port[1].isdigit() and int(port[1]) < 65536):
        raise Wrong("a port from 0 to 65535", text)
    if ":" not in text or not text.isprintable():
        raise Wrong(
            "a port or a Twisted endpoint string such as tcp:3000:interface=127.0.0.1", text
        )
    return text


@dataclass(frozen=True, slots=True)
class HostPort:
    """``host:port``, an IPv6 address in brackets."""

    def __call__(self, value: Any) -> str:
        """Read it."""
        try:
            parse_address(value)
        except (ValueError, TypeError) as error:
            raise Wrong(
                '"host:port", such as "relay.example:3000" or "[2001:db8::1]:3000"'
            ) from error
        return str(value)


@dataclass(frozen=True, slots=True)
class Hosts:
    """A list of host names and IP addresses for a TLS certificate; no wildcard."""

    def __call__(self, value: Any) -> tuple[str, ...]:
        """Read it."""
        allowed = "a list of host names in lower case and IP addresses"
        for name in _strings(value, allowed):
            if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,252}|[0-9a-f:]{2,45}", name):
                raise Wrong(allowed, name)
        return tuple(value)


@dataclass(frozen=True, slots=True)
class Names:
    """A list of peers, or of rooms too; ``*`` is everyone."""

    rooms: bool = False

    def __call__(self, value: Any) -> frozenset[str]:
        """Read it."""
        whose = "names of peers and rooms" if self.rooms else "peers' names"
        allowed = f'a list of {whose}, or ["*"] for everyone'
        return frozenset(
            _name_or_everyone(name, allowed, self.rooms) for name in _strings(value, allowed)
        )


@dataclass(frozen=True, slots=True)
class Allowed:
    """A table from a peer (or ``*``) to the peers it may reach, or the rooms too."""

    rooms: bool = False

    def __call__(self, value: Any) -> Mapping[str, frozenset[str]]:
        """Read it."""
        allowed = 'a table such as {"*" = ["*"], alice = ["bob"]}'
        if not isinstance(value, dict):
            raise Wrong(allowed)
        return {
            _name_or_everyone(name, allowed): frozenset(
                _name_or_everyone(other, allowed, self.rooms)
                for other in _strings(reached, allowed)
            )
            for name, reached in value.items()
        }


def _name_or_everyone(name: str, allowed: str, rooms: bool = False) -> str:
    try:
        if name == "*":
            return name
        return check_room(name) if rooms and name[:1] == "@" else check_peer(name)
    except BadName as error:
        raise Wrong(allowed, name) from error


def _strings(value: Any, allowed: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Wrong(allowed)
    return value
