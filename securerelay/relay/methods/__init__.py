"""The control plane: one function a method, in one table (SR1 section 5).

A call carries a JSON object (nothing counts as an empty one) of at most 64 KiB, 16 levels and 2,048
values; its answer is one too. A refusal is answered with its code and ``{"message": ...}``.  To add
a method, write one function and one row.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from securerelay.errors import LocalError, Refused, RemoteError, StorageError
from securerelay.protocol.link import encode_json
from securerelay.relay.methods import certificates, invitations, keys, log, peers, rooms, status

if TYPE_CHECKING:
    from securerelay.relay.session import Session

MAX_BYTES = 64 * 1024
MAX_DEPTH = 16
MAX_VALUES = 2048
"""Values that may follow each other: parsing takes its time for each, whatever its size."""

Parameters = dict[str, Any]


class Method(NamedTuple):
    """A control method.

    Attributes:
        act: what does it.
        certificate: whether the session must have been authenticated by certificate, not by ticket.
    """

    act: Callable[[Session, Parameters], Awaitable[Parameters]]
    certificate: bool = False


METHODS: dict[bytes, Method] = {
    b"peer.list": Method(peers.list_peers),
    b"peer.watch": Method(peers.watch),
    b"key.publish": Method(keys.publish),
    b"key.fetch": Method(keys.fetch),
    b"log.head": Method(log.head),
    b"log.proof": Method(log.proof),
    b"log.leaves": Method(log.leaves),
    b"cert.renew": Method(certificates.renew, certificate=True),
    b"invite.create": Method(invitations.create, certificate=True),
    b"room.create": Method(rooms.create),
    b"room.change": Method(rooms.change),
    b"room.add": Method(rooms.add),
    b"room.remove": Method(rooms.remove),
    b"room.join": Method(rooms.join),
    b"room.leave": Method(rooms.leave),
    b"room.delete": Method(rooms.delete),
    b"room.publish": Method(rooms.publish),
    b"room.fetch": Method(rooms.fetch),
    b"room.list": Method(rooms.list_rooms),
    b"room.members": Method(rooms.members),
    b"relay.status": Method(status.status),
}
"""Every method there is."""


async def answer(session: Session, method: bytes, body: bytes) -> tuple[bytes, bytes]:
    """Do what a peer asks for.

    Args:
        session: who asks.
        method: the dotted name.
        body: JSON.

    Returns:
        Status (``ok`` or a code) and body of the REPLY.
    """
    row = METHODS.get(method)
    try:
        if row is None:
            raise Refused("unknown-method", "there is no such method")
        if row.certificate and not session.by_certificate:
            raise Refused("not-permitted", "this takes a session authenticated by certificate")
        return b"ok", encode_json(await row.act(session, parameters(body)))
    except StorageError:
        return b"busy", encode_json({"message": "the relay's storage does not answer"})
    except LocalError as error:
        return b"bad-request", encode_json({"message": error.message})
    except RemoteError as error:
        return error.code.encode("ascii"), encode_json({"message": error.detail})


def parameters(body: bytes) -> Parameters:
    """Read the JSON of a call.

    Raises:
        Refused: ``too-large``, or ``bad-request`` if it is no object, too deep, or no JSON.
    """
    if len(body) > MAX_BYTES:
        raise Refused("too-large", f"the parameters may have {MAX_BYTES} bytes")
    # Counted before anything is parsed; one in a string counts too, but no parameter has any.
    if body.count(b",") >= MAX_VALUES:
        raise Refused("too-large", f"the parameters may have {MAX_VALUES} values")
    try:
        # Decoded here: given bytes, the parser would guess at UTF-16 and let half surrogates pass.
        value = json.loads(
            body.decode("utf-8") or "{}",
            parse_constant=_no_constant,
            object_pairs_hook=_each_once,
        )
    except (ValueError, RecursionError):
        raise Refused("bad-request", "the parameters are no JSON") from None
    if not isinstance(value, dict):
        raise Refused("bad-request", "the parameters must be a JSON object")
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [child for item in level for child in _children(item)]
        if not level:
            return value
    raise Refused("bad-request", f"the parameters may be {MAX_DEPTH} levels deep")


def _children(value: Any) -> list[Any]:
    values = value.values() if isinstance(value, dict) else value
    return [child for child in values if isinstance(child, dict | list)]


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _each_once(pairs: list[tuple[str, Any]]) -> Parameters:
    """Make an object; of a key that comes twice, others might read the value that we do not."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key twice")
    return made
