"""``relay.status``: what a peer may know about the relay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import securerelay
from securerelay.relay.methods import fields

if TYPE_CHECKING:
    from securerelay.relay.session import Session


async def status(session: Session, parameters: dict[str, Any]) -> dict[str, Any]:
    """Tell version, time, and how the caller itself stands: its sessions and its mailbox."""
    fields.only(parameters)
    context, peer = session.context, session.peer
    mailbox = await context.router.mailbox(peer)
    return {
        "version": securerelay.__version__,
        "time": context.now(),
        "session": session.session_id.hex(),
        "sessions": len(peer.sessions),
        "mailbox": {"messages": mailbox.count, "bytes": mailbox.size},
        "require_sealed": context.config.policy.require_sealed,
    }
