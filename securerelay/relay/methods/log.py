"""``log.*``: the key log's head, its leaves, and proofs about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from securerelay.errors import Refused
from securerelay.protocol.lines import encode
from securerelay.relay.config import EVERYONE
from securerelay.relay.keylog import leaf_of
from securerelay.relay.methods import fields

if TYPE_CHECKING:
    from securerelay.relay.session import Session

MOST = 4000
"""Leaves in one answer, which then stays far below the limit of a message."""

_LARGEST = (1 << 53) - 1

Parameters = dict[str, Any]


async def head(session: Session, parameters: Parameters) -> Parameters:
    """Tell the newest signed head."""
    fields.only(parameters)
    signed = session.context.keylog.head
    if not signed:
        raise Refused("busy", "the first head is not signed yet")
    return {"head": encode(signed)}


async def proof(session: Session, parameters: Parameters) -> Parameters:
    """Prove the ``inclusion`` of a leaf among ``size``, or the ``consistency`` of two sizes."""
    log = session.context.keylog
    try:
        if "consistency" in parameters:
            fields.only(parameters, "consistency")
            hashes = log.consistency(*_sizes(parameters["consistency"]))
        else:
            fields.only(parameters, "inclusion", "size")
            index = fields.number(parameters, "inclusion", -1, 0, _LARGEST)
            hashes = log.inclusion(index, fields.number(parameters, "size", -1, 0, _LARGEST))
    except IndexError as error:
        raise Refused("bad-request", str(error)) from None
    return {"hashes": [encode(one) for one in hashes]}


def _sizes(value: Any) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise Refused("bad-request", "consistency must be a list of two sizes")
    first, second = value
    if type(first) is not int or type(second) is not int:
        raise Refused("bad-request", "consistency must be a list of two sizes")
    return first, second


async def leaves(session: Session, parameters: Parameters) -> Parameters:
    """Read the leaves from index ``from`` up to ``to``, which is not included.

    They name every peer, so only who may see all of them reads them.
    """
    fields.only(parameters, "from", "to")
    start = fields.number(parameters, "from", 0, 0, _LARGEST)
    end = fields.number(parameters, "to", _LARGEST, 0, _LARGEST)
    context = session.context
    if not context.config.policy.may_see(session.peer.text, EVERYONE):
        raise Refused("not-permitted", "the policy hides peers from you, and leaves name them all")
    count = min(end - start, MOST)
    rows = await context.store.key_log(start, count) if count > 0 else []
    return {"leaves": [encode(leaf_of(row)) for row in rows]}
