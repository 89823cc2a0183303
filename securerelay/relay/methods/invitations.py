"""``invite.create``: peers that may invite others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from securerelay.errors import Refused
from securerelay.relay.inviting import LEAST_SECONDS, MOST_SECONDS, invite
from securerelay.relay.methods import fields

if TYPE_CHECKING:
    from securerelay.relay.session import Session


async def create(session: Session, parameters: dict[str, Any]) -> dict[str, Any]:
    """Make an invitation for the peer ``name``, good for ``expires`` seconds.

    It takes the role ``invite``, or a policy that lets the caller invite.
    """
    fields.only(parameters, "name", "expires")
    context, inviter = session.context, session.peer.text
    name = fields.text(parameters, "name")
    usual = context.config.lifetimes.invitation
    seconds = fields.number(parameters, "expires", usual, LEAST_SECONDS, MOST_SECONDS)
    row = await context.store.lookup(inviter)
    roles = row.roles if row is not None and row.state == "active" else ()
    if not context.config.policy.may_invite(inviter, roles):
        raise Refused("not-permitted", "you may not invite others")
    invitation = await invite(
        context.store,
        context.handshake.relay_id,
        context.address(),
        name,
        context.now(),
        seconds,
        created_by=inviter,
    )
    context.log.info("invitation.made", source=inviter, name=name, expiry=invitation.expiry)
    return {"invitation": invitation.uri(), "name": name, "expiry": invitation.expiry}
