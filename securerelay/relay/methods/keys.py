"""``key.publish`` and ``key.fetch``: what peers seal with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from securerelay.crypto.primitives import sha256
from securerelay.protocol.lines import encode
from securerelay.relay.keylog import KeyLog, leaf_of
from securerelay.relay.methods import fields
from securerelay.sealing import bundle
from securerelay.store.rows import Published

if TYPE_CHECKING:
    from securerelay.relay.session import Session

MAX_BUNDLE = 10_240
"""Bytes of a bundle; four successions with the largest keys need less."""
MOST = 64
"""Peers in one call; their largest bundles with proofs stay below the limit of a message."""

Parameters = dict[str, Any]


async def publish(session: Session, parameters: Parameters) -> Parameters:
    """Keep the caller's ``bundle`` in the place of its last.

    It is checked as whoever seals with it will check it, so that nothing else is kept here.
    """
    fields.only(parameters, "bundle")
    raw = fields.octets(parameters, "bundle", MAX_BUNDLE)
    context, caller = session.context, session.peer.text
    read = bundle.read(raw, caller, context.handshake.ca_spki)
    await context.store.publish(caller, read.number, raw, sha256(read.certificate))
    return {}


async def fetch(session: Session, parameters: Parameters) -> Parameters:
    """Tell the last bundles of ``peers``, with the leaves of the key log for their certificates.

    Whom the caller has no business with is answered as who does not exist.  With ``size`` each leaf
    comes with the proof that it is in the tree of so many leaves.
    """
    fields.only(parameters, "peers", "size")
    asked = fields.peers(parameters, MOST)
    log = session.context.keylog
    size = None
    if parameters.get("size") is not None:
        size = fields.number(parameters, "size", 0, 0, len(log))
    known = await _known(session, asked)
    found = await session.context.store.published([name for name in asked if name in known])
    return {
        "bundles": {
            name: _describe(found[name], log, size) if name in found else None for name in asked
        }
    }


def _describe(one: Published, log: KeyLog, size: int | None) -> Parameters:
    if one.leaf is None:
        return {"state": one.state, "bundle": None}
    told: Parameters = {
        "state": one.state,
        "bundle": encode(one.bundle),
        "index": one.leaf.index,
        "leaf": encode(leaf_of(one.leaf)),
    }
    if size is not None:
        proof = log.inclusion(one.leaf.index, size) if one.leaf.index < size else None
        told["proof"] = None if proof is None else [encode(one) for one in proof]
    return told


async def _known(session: Session, asked: Iterable[str]) -> set[str]:
    """Tell with whom the caller may deal: whom it sees, sends to, hears from, or is in a room with.

    Whoever gets mail from a name needs its keys, whether the list of peers shows it or not.
    """
    policy, caller = session.context.config.policy, session.peer.text
    known = {
        name
        for name in asked
        if policy.may_see(caller, name)
        or policy.may_send(caller, name)
        or policy.may_send(name, caller)
    }
    if not known.issuperset(asked):
        for room in await session.context.store.rooms(caller):
            known.update(room.members)
    return known
