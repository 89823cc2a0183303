"""Which bodies are taken, as far as that can be told without keys (SR1 section 5).

A screen is asked for each message on one way from a sender to a recipient.  It looks at the header
of a sealed body and at nothing behind it.
"""

from __future__ import annotations

from collections.abc import Callable

from securerelay.protocol import sealed
from securerelay.protocol.sealed import DirectHeader, RoomHeader

Screen = Callable[[bytes], "bytes | None"]
"""Returns the code of a refusal, or None for a body that is taken."""

_DIRECT = sealed.MAGIC + bytes((sealed.DIRECT,))
_ROOM = sealed.MAGIC + bytes((sealed.ROOM,))
_LEAST = {
    _DIRECT: DirectHeader.SIZE + sealed.HPKE_OVERHEAD + sealed.SMALLEST,
    _ROOM: RoomHeader.SIZE + sealed.TAG_SIZE + sealed.SMALLEST,
}
_NEVER = 1 << 62


def only_sealed(body: bytes) -> bytes | None:
    """Refuse what is not sealed; says the same as :func:`.sealed.is_sealed`, and costs less."""
    return None if len(body) >= _LEAST.get(body[:5], _NEVER) else b"unsealed"


def for_room(listed: int, required: bool) -> Screen | None:
    """Return the screen of a room.

    Args:
        listed: the version of its newest signed list, 0 without one.
        required: whether bodies must be sealed.

    Returns:
        A screen that also refuses, for now, what is sealed under an older list; None if nothing is
        refused.
    """
    if not listed:
        return only_sealed if required else None
    newest = listed.to_bytes(8, "big")
    version = RoomHeader.VERSION

    def screen(body: bytes) -> bytes | None:
        if required and len(body) < _LEAST.get(body[:5], _NEVER):
            return b"unsealed"
        if body[:5] == _ROOM and body[version] < newest:
            return b"room-changed"
        return None

    return screen


def pass_through(screen: Screen, bodies: list[bytes]) -> tuple[list[bytes], bytes | None]:
    """Return the bodies before the first that is refused, and why it is; None if all are taken."""
    for index, body in enumerate(bodies):
        code = screen(body)
        if code is not None:
            return bodies[:index], code
    return bodies, None
