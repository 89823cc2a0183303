"""``cert.renew``: a new certificate, for the key that the directory has or for the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from securerelay.errors import Refused
from securerelay.identity import possession
from securerelay.protocol.lines import encode
from securerelay.relay.methods import fields
from securerelay.store import successors

if TYPE_CHECKING:
    from securerelay.relay.session import Session
    from securerelay.store.rows import PeerRow

EARLIEST = 2 / 3
"""The part of its life that a certificate must have behind it."""
MAX_KEY = 1024
"""Bytes of a key, or of a signature."""


async def renew(session: Session, parameters: dict[str, Any]) -> dict[str, Any]:
    """Issue the caller's next certificate.

    For the same key it does so from two thirds of the present one's life on; the tickets of the old
    certificate die.  Asked earlier, it answers with the present one: so a reply that got lost can
    be asked for again.

    For another ``key``, of which the caller shows the ``proof`` of possession, the present
    certificate stays until the new one is used; see :mod:`securerelay.store.successors`.
    """
    fields.only(parameters, "key", "proof")
    context = session.context
    row = await context.store.lookup(session.peer.text)
    if row is None or row.state != "active":
        raise Refused("revoked", "the name has ended")
    if parameters:
        return await _for_next_key(session, parameters, row)
    now, present = context.now(), row.certificate
    if now >= present.issued + (present.not_after - present.issued) * EARLIEST:
        issued = await context.pool.run(context.issue, row.name, present.spki)
        present = (await context.store.renew(issued)).certificate
        context.keylog.changed()
        context.log.info("certificate.renewed", source=row.name, until=present.not_after)
    return {"certificate": encode(present.der), "not_after": present.not_after}


async def _for_next_key(
    session: Session, parameters: dict[str, Any], row: PeerRow
) -> dict[str, Any]:
    context = session.context
    spki = fields.octets(parameters, "key", MAX_KEY)
    proof = fields.octets(parameters, "proof", MAX_KEY)
    if not possession.proves(spki, proof, session.session_id, row.name):
        raise Refused("unproven", "no proof, in this session, of a key that a peer may have")
    # What is refused, or there already, costs no signature.
    rows = await context.store.issued(row.name)
    certificate = successors.issued_before(row, rows, spki, context.now())
    if certificate is None:
        made = await context.pool.run(context.issue, row.name, spki)
        certificate = await context.store.issue(made)
        context.keylog.changed()
        context.log.info("key.issued", source=row.name, until=certificate.not_after)
    return {"certificate": encode(certificate.der), "not_after": certificate.not_after}
