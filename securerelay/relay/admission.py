"""Who may come in: what a handshake asks of store, authority and clock (SR1 sections 3, 4 and 6).

What the text of the protocol leaves open is decided so:

* After its proof a peer is judged in this order: the certificate's dates, revocation, and whether
  the directory has this key under this name.  A certificate that was renewed since stays good
  until its own end, so that a peer to whom the new one never came is not locked out; tickets are
  bound to the newest certificate alone.
* Who proves the key of a certificate that was issued after the present one, for the same name, has
  it take the present one's place (:mod:`securerelay.store.successors`).  Only then does the old key
  end: with its tickets, and with its sessions, as if it were revoked.
* A certificate of our authority for a name that the directory does not have is treated as revoked.
* Whatever is wrong with an invitation but that another key used it is told as ``expired``: ask for
  a new one.
* A ticket lasts as configured, but neither beyond 24 hours after its peer last proved its key nor
  beyond its certificate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any, NamedTuple

from cryptography import x509

from securerelay import failpoints
from securerelay.crypto.primitives import sha256
from securerelay.errors import Refused, StorageError
from securerelay.protocol.connection import (
    Authenticated,
    EnrolmentRequest,
    NewTicket,
    Resumption,
)
from securerelay.protocol.lines import encode
from securerelay.relay.context import RelayContext
from securerelay.relay.session import Session
from securerelay.store.rows import CertificateRow, PeerRow, TicketRow

DAY = 86_400_000
"""How long after its last proof by certificate a peer can resume, in milliseconds."""


async def find_ticket(
    context: RelayContext, ticket_id: bytes, verify: Callable[[bytes], None]
) -> Resumption | None:
    """Take a ticket out of the store.

    Raises:
        RemoteError: what ``verify`` raised; the ticket stays.
    """
    try:
        redeemed = await context.tickets.take(sha256(ticket_id), context.now(), verify)
    except StorageError:
        return None  # What cannot be deleted cannot be used; a full handshake still can.
    if redeemed is None:
        return None
    failpoints.reach("ticket-taken")
    ticket, spki = redeemed.ticket, redeemed.peer.certificate.spki
    return Resumption(ticket.psk, ticket.name, spki, ticket.auth_time, ticket.certificate_sha256)


async def find_invitation(context: RelayContext, token: bytes) -> bytes | None:
    """Find the public key of an invitation."""
    invitation = await context.store.invitation(token)
    return None if invitation is None else invitation.public_key


class Admitted(NamedTuple):
    """A peer that may come in.

    Attributes:
        peer: who.
        proved: when it last proved its key, Unix ms.
        welcome: what WELCOME says.
    """

    peer: Authenticated
    proved: int
    welcome: dict[str, Any]


async def admit(context: RelayContext, peer: Authenticated) -> Admitted:
    """Let a peer in that proved who it is.

    Raises:
        Refused: with the code of the ALERT.
    """
    router = context.router
    while True:
        ended = router.ended
        if router.draining:
            raise Refused("shutdown")
        row = await context.store.lookup(peer.name)
        now = context.now()
        if not _judge(peer, row, now):
            await _succeed(context, peer)
            continue
        assert row is not None
        # The time the peer proved its key: this very moment, unless it came with a ticket.
        proved = now if peer.auth_time is None else peer.auth_time
        if ended == router.ended:  # else somebody was revoked meanwhile: look again
            content = _welcome(context, row, proved, peer.session_id, peer.tickets)
            return Admitted(peer, proved, content)


async def _succeed(context: RelayContext, peer: Authenticated) -> None:
    """Have another key than the directory's take its place, if it may.

    Raises:
        Refused: ``revoked`` if it may not.
    """
    await context.store.succeed(peer.name, sha256(peer.certificate))
    sessions = context.router.rekeyed(peer.name)
    context.log.info("key.replaced", name=peer.name, sessions=sessions)


def _judge(peer: Authenticated, row: PeerRow | None, now: int) -> bool:
    """Judge what a peer proved; tells whether its key is the one that the directory has."""
    present = None if row is None else row.certificate
    if present is None or present.sha256 == peer.certificate_sha256 or not peer.certificate:
        begins, ends = now, present.not_after if present is not None else now + 1
    else:
        other = x509.load_der_x509_certificate(peer.certificate)
        begins = int(other.not_valid_before_utc.timestamp() * 1000)
        ends = int(other.not_valid_after_utc.timestamp() * 1000)
    if not begins <= now < ends:
        raise Refused("expired", "the certificate has expired, or is not valid yet")
    if row is None or present is None or row.state != "active":
        raise Refused("revoked", "the name has ended, or was never given")
    if peer.resumed and present.sha256 != peer.certificate_sha256:
        raise Refused("revoked", "a ticket of a certificate that was replaced")
    return present.spki == peer.peer_spki


async def again(
    context: RelayContext, session: Session, tickets: Sequence[NewTicket]
) -> dict[str, Any]:
    """Go on after a REKEY: the session's tickets die, and new ones come.

    REKEYs come every two hours at most, so no session outlives its peer's certificate for longer.

    Returns:
        What WELCOME says.

    Raises:
        Refused: ``revoked``, ``expired``.
    """
    await context.tickets.kill(session.session_id)
    row = await context.store.lookup(session.peer.text)
    if row is None or row.state != "active":
        raise Refused("revoked", "the name has ended")
    if context.now() >= row.certificate.not_after:
        raise Refused("expired", "the certificate has expired meanwhile")
    return _welcome(context, row, session.auth_time, session.session_id, tickets)


def _welcome(
    context: RelayContext,
    row: PeerRow,
    proved: int,
    session_id: bytes,
    tickets: Sequence[NewTicket],
) -> dict[str, Any]:
    now, config = context.now(), context.config
    present = row.certificate
    ends = min(now + config.lifetimes.ticket * 1000, proved + DAY, present.not_after)
    if ends // 1000 <= now // 1000:
        tickets = ()
    if tickets:
        rows = [
            TicketRow(
                sha256(ticket.id), ticket.psk, row.name, present.sha256, proved, ends, session_id
            )
            for ticket in tickets
        ]
        context.tickets.put(rows)
    return {
        "time": now,
        "tickets": [[encode(ticket.id), ends // 1000] for ticket in tickets],
        "limits": {
            "message": config.limits.message_bytes,
            "ttl": config.lifetimes.mail,
            "ttl_longest": config.lifetimes.mail_longest,
        },
        "log": {"head": encode(context.keylog.head)} if context.keylog.head else {},
    }


async def enrol(
    context: RelayContext, request: EnrolmentRequest, source: str | None = None
) -> dict[str, Any]:
    """Make a newcomer a peer, or hand its certificate over again.

    Args:
        context: the relay.
        request: what the newcomer proved.
        source: where it comes from, for the log.

    Returns:
        What WELCOME says.

    Raises:
        Refused: with the code of the ALERT.
    """
    store = context.store
    if context.router.draining:
        raise Refused("shutdown")
    invitation = await store.invitation(request.token)
    if invitation is None or invitation.name != request.name:
        raise Refused("expired", "the invitation is for another name")
    if invitation.state == "open" and invitation.expiry <= context.now():
        raise Refused("expired", "the invitation has expired")
    certificate = await context.pool.run(context.issue, request.name, request.spki)
    try:
        consumed = await store.consume(request.token, certificate, context.now())
        failpoints.reach("enrolment-committed")
    except Refused as refused:
        if refused.code == "token-used":
            # Whoever comes second may be the one who was meant: the operator must know.
            context.log.warn("enrolment.token-used", source=source, name=request.name)
            await _dispute(context, request.token)
        else:
            context.log.warn(
                "enrolment.refused", source=source, name=request.name, reason=refused.code
            )
        code = refused.code if refused.code in ("token-used", "revoked") else "expired"
        raise Refused(code, refused.detail) from refused
    if not consumed.repeated:
        context.keylog.changed()
        context.router.rooms.enrolled()
        context.log.info("peer.enrolled", name=request.name, until=_day(consumed.certificate))
    return {
        "time": context.now(),
        "tickets": [],
        "limits": {},
        "log": {},
        "certificate": encode(consumed.certificate.der),
    }


async def _dispute(context: RelayContext, token: bytes) -> None:
    """Keep the alarm until the operator acknowledges it; the log has it even on a full disk."""
    with suppress(StorageError):
        await context.store.dispute(token, context.now())


def _day(certificate: CertificateRow) -> str:
    ends = datetime.fromtimestamp(certificate.not_after / 1000, timezone.utc)
    return ends.date().isoformat()
