"""Making invitations, for the administrator and for peers that may invite (SR1 section 6)."""

from __future__ import annotations

from dataclasses import dataclass

from securerelay import names
from securerelay.errors import LocalError, Refused
from securerelay.identity.invitation import Invitation, parse_address
from securerelay.store.interface import Invitations
from securerelay.store.rows import InvitationRow

ROLES = ("invite",)
"""What a peer can be allowed besides sending and receiving: to invite others."""

LEAST_SECONDS = 60
MOST_SECONDS = 30 * 86_400


@dataclass(frozen=True, slots=True)
class Address:
    """What an invitation tells the newcomer to connect to."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``host:port``, with brackets around an IPv6 address.

        Raises:
            LocalError: if it is something else.
        """
        try:
            return cls(*parse_address(text))
        except ValueError as error:
            raise LocalError(str(error)) from error


async def invite(
    store: Invitations,
    relay_id: bytes,
    address: Address,
    name: str,
    now: int,
    seconds: int,
    *,
    roles: tuple[str, ...] = (),
    created_by: str = "",
) -> Invitation:
    """Make an invitation and keep the relay's half of it.

    The seed in it is known to nobody but whom it is given to: the relay keeps the public key alone.

    Args:
        store: where.
        relay_id: 32 bytes.
        address: where the newcomer is to connect.
        name: the newcomer's.
        now: Unix ms.
        seconds: how long it can be used.
        roles: some of :data:`ROLES`.
        created_by: the inviting peer, or nothing for the administrator.

    Returns:
        The invitation, to be shown once.

    Raises:
        BadName: if nobody can have the name.
        LocalError: if the time or a role is out of bounds.
        Refused: ``name-taken``.
    """
    names.check_new_peer(name)
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise LocalError("an invitation lasts from 60 seconds to 30 days")
    unknown = [role for role in roles if role not in ROLES]
    if unknown:
        raise LocalError(f"there is no role {unknown[0]!a}; known are {', '.join(ROLES)}")
    invitation = Invitation.create(
        relay_id, address.host, address.port, name, now // 1000 + seconds
    )
    row = InvitationRow(
        token=invitation.token,
        public_key=invitation.public_key,
        name=name,
        roles=tuple(sorted(set(roles))),
        expiry=invitation.expiry * 1000,
        created=now,
        created_by=created_by,
    )
    try:
        await store.invite(row)
    except Refused as refused:
        if refused.code != "name-taken":
            raise
        clash = f"looks too much like {refused.detail}"
        if refused.detail in ("", name):
            clash = "is taken, or was used before; choose another name"
        raise Refused("name-taken", f"{name} {clash}") from refused
    return invitation
