"""``peer.list`` and ``peer.watch``: who there is and who is here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from securerelay.relay.methods import fields
from securerelay.relay.presence import state_of

if TYPE_CHECKING:
    from securerelay.relay.session import Session

MOST = 5000
"""Peers in one answer, which then stays far below the limit of a message."""


async def list_peers(session: Session, parameters: dict[str, Any]) -> dict[str, Any]:
    """List the peers that the caller may see, sorted by name.

    Parameters are ``online`` (only those who are here), ``after`` (begin behind this name) and
    ``limit``; the answer's ``more`` tells whether there are any behind the last.
    """
    fields.only(parameters, "online", "after", "limit")
    after = fields.text(parameters, "after", "")
    limit = fields.number(parameters, "limit", MOST, 1, MOST)
    router = session.context.router
    if fields.flag(parameters, "online"):
        names = sorted(peer.text for peer in router.online)
    else:
        names = [row.name for row in await router.store.peers() if row.state == "active"]
    may_see, caller = router.config.policy.may_see, session.peer.text
    seen = [name for name in names if name > after and may_see(caller, name)]
    listed = []
    for name in seen[:limit]:
        peer = router.find(name)
        nobody = {"peer": name, "online": False, "listening": False}
        listed.append(nobody if peer is None else state_of(peer))
    return {"peers": listed, "more": len(seen) > limit}


async def watch(session: Session, parameters: dict[str, Any]) -> dict[str, Any]:
    """Tell this session by events ``presence`` who comes and goes, from now on."""
    fields.only(parameters)
    session.context.router.presence.watch(session)
    return {}
