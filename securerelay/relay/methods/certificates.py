"""``cert.renew``: a new certificate for the key that the directory has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from securerelay.errors import Refused
from securerelay.protocol.lines import encode
from securerelay.relay.methods import fields

if TYPE_CHECKING:
    from securerelay.relay.session import Session

EARLIEST = 2 / 3
"""The part of its life that a certificate must have behind it."""


async def renew(session: Session, parameters: dict[str, Any]) -> dict[str, Any]:
    """Issue the caller's next certificate, from two thirds of the present one's life on.

    Asked earlier, it answers with the present one: so a reply that got lost can be asked for again.
    The tickets of the old certificate die.
    """
    fields.only(parameters)
    context = session.context
    row = await context.store.lookup(session.peer.text)
    if row is None or row.state != "active":
        raise Refused("revoked", "the name has ended")
    now, present = context.now(), row.certificate
    if now >= present.issued + (present.not_after - present.issued) * EARLIEST:
        issued = await context.pool.run(context.issue, row.name, present.spki)
        present = (await context.store.renew(issued)).certificate
        context.keylog.changed()
        context.log.info("certificate.renewed", source=row.name, until=present.not_after)
    return {"certificate": encode(present.der), "not_after": present.not_after}
