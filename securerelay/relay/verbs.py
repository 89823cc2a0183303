"""What the administrator can ask of a running relay, over :mod:`securerelay.relay.admin`.

Times in answers are Unix milliseconds. A verb refuses arguments that it does not know, so that a
typing error never does half of what was meant.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securerelay import __version__, names
from securerelay.errors import LocalError, Refused
from securerelay.relay.inviting import Address, invite
from securerelay.relay.limits import source_of
from securerelay.relay.presence import state_of

if TYPE_CHECKING:
    from securerelay.relay.service import RelayService

Verb = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


LOCAL_ONLY = (
    "this invitation leads to 127.0.0.1, that is to this machine; set advertise in the relay's "
    "configuration, or give --address HOST:PORT"
)


class Arguments:
    """Takes typed arguments out of a request, and refuses what is left over.

    Args:
        given: the request without its verb.
    """

    def __init__(self, given: dict[str, Any]):
        self._given = dict(given)

    def take(self, name: str, kind: type, what: str, default: Any = None) -> Any:
        """Take one argument.

        Args:
            name: its key.
            kind: its type as JSON gives it.
            what: the type in words.
            default: what it is when it is left out; None makes it needed.

        Raises:
            LocalError: if it is missing or of another type.
        """
        value = self._given.pop(name, default)
        if type(value) is not kind:
            raise LocalError(f"{name} must be {what}")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        """Take a string."""
        value: str = self.take(name, str, "a string", default)
        return value

    def number(self, name: str, default: int | None = None) -> int:
        """Take a whole number."""
        value: int = self.take(name, int, "a whole number", default)
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Take a list of strings, which may be left out."""
        values = self.take(name, list, "a list of strings", [])
        if not all(isinstance(value, str) for value in values):
            raise LocalError(f"{name} must be a list of strings")
        return tuple(values)

    def end(self) -> None:
        """Refuse what nobody took."""
        if self._given:
            raise LocalError(f"there is no argument {min(self._given)!a}")


class AdminVerbs:
    """The verbs of one relay.

    Args:
        relay: the running relay.
        now: the time, Unix seconds.
    """

    def __init__(self, relay: RelayService, now: Callable[[], float] = time.time):
        self._relay = relay
        self._now = now

    def table(self) -> Mapping[str, Verb]:
        """Return each verb's coroutine."""
        return {
            "status": self._status,
            "invite": self._invite,
            "invitations": self._invitations,
            "withdraw": self._withdraw,
            "issued": self._issued,
            "revoke": self._revoke,
            "peers": self._peers,
            "give": self._give,
            "backup": self._backup,
            "reload": self._reload,
            "penalties": self._penalties,
            "alarms": self._alarms,
        }

    def _ms(self) -> int:
        return int(self._now() * 1000)

    async def _invite(self, given: dict[str, Any]) -> dict[str, Any]:
        arguments = Arguments(given)
        name = arguments.text("name")
        seconds = arguments.number("expires", self._relay.config.lifetimes.invitation)
        given_address = arguments.text("address", "")
        roles = arguments.texts("roles")
        arguments.end()
        address = Address.parse(given_address) if given_address else self._relay.address()
        invitation = await invite(
            self._relay.store,
            self._relay.relay_id,
            address,
            name,
            self._ms(),
            seconds,
            roles=roles,
        )
        self._relay.log.info("invitation.made", name=name, token=invitation.token.hex())
        return {
            "name": name,
            "uri": invitation.uri(),
            "token": invitation.token.hex(),
            "expires": invitation.expiry * 1000,
            **({} if given_address or self._relay.config.advertise else {"note": LOCAL_ONLY}),
        }

    async def _invitations(self, given: dict[str, Any]) -> dict[str, Any]:
        Arguments(given).end()
        now = self._ms()
        rows = await self._relay.store.invitations()
        return {
            "invitations": [
                {
                    "token": row.token.hex(),
                    "name": row.name,
                    "roles": list(row.roles),
                    "state": "expired" if row.state == "open" and row.expiry <= now else row.state,
                    "created": row.created,
                    "created_by": row.created_by or None,
                    "expires": row.expiry,
                    "used": row.used,
                }
                for row in rows
            ]
        }

    async def _withdraw(self, given: dict[str, Any]) -> dict[str, Any]:
        arguments = Arguments(given)
        text = arguments.text("token")
        arguments.end()
        try:
            token = bytes.fromhex(text)
        except ValueError as error:
            raise LocalError("a token is 12 hexadecimal digits") from error
        if not await self._relay.store.withdraw(token):
            raise Refused("unknown", "there is no open invitation with that token")
        self._relay.log.info("invitation.withdrawn", token=token.hex())
        return {"token": token.hex()}

    async def _issued(self, given: dict[str, Any]) -> dict[str, Any]:
        arguments = Arguments(given)
        days = arguments.number("expiring_days", -1)
        arguments.end()
        before = self._ms() + days * 86_400_000 if days >= 0 else None
        peers = await self._relay.store.peers()
        return {
            "issued": [
                {
                    "name": peer.name,
                    "state": peer.state,
                    "roles": list(peer.roles),
                    "serial": f"{peer.certificate.serial:x}",
                    "sha256": peer.certificate.sha256.hex(),
                    "issued": peer.certificate.issued,
                    "expires": peer.certificate.not_after,
                    "created": peer.created,
                    "ended": peer.ended,
                }
                for peer in peers
                if before is None
                or (peer.state == "active" and peer.certificate.not_after <= before)
            ]
        }

    async def _revoke(self, given: dict[str, Any]) -> dict[str, Any]:
        arguments = Arguments(given)
        name = names.check_peer(arguments.text("name"))
        arguments.end()
        try:
            sessions = await self._relay.running.router.revoke(name)
        except Refused as refused:
            raise Refused(refused.code, f"there is no peer {name}") from refused
        self._relay.log.info("peer.revoked", name=name, sessions=sessions)
        return {"name": name, "sessions": sessions}

    async def _give(self, given: dict[str, Any]) -> dict[str, Any]:
        arguments = Arguments(given)
        room = names.check_room(arguments.text("room"))
        owner = names.check_peer(arguments.text("owner"))
        arguments.end()
        row = await self._relay.running.router.rooms.give(room, owner)
        self._relay.log.info("room.given", room=room, owner=owner)
        return {"room": row.name, "owner": row.owner, "version": row.version, "listed": row.listed}

    async def _peers(self, given: dict[str, Any]) -> dict[str, Any]:
        Arguments(given).end()
        return {
            "peers": [
                {
                    **state_of(peer),
                    "sessions": [
                        {"session": session.session_id.hex(), "since": session.since}
                        for session in peer.sessions
                    ],
                }
                for peer in self._relay.running.router.online
            ]
        }

    async def _status(self, given: dict[str, Any]) -> dict[str, Any]:
        Arguments(given).end()
        return {"version": __version__, **await self._relay.status()}

    async def _backup(self, given: dict[str, Any]) -> dict[str, Any]:
        arguments = Arguments(given)
        path = Path(arguments.text("path"))
        arguments.end()
        if not path.is_absolute():
            raise LocalError("path must begin with a slash")
        await self._relay.store.backup(path)
        self._relay.log.info("backup.written", path=str(path))
        return {"path": str(path), "size": path.stat().st_size}

    async def _reload(self, given: dict[str, Any]) -> dict[str, Any]:
        Arguments(given).end()
        return {"restart": self._relay.reload()}

    async def _alarms(self, given: dict[str, Any]) -> dict[str, Any]:
        arguments = Arguments(given)
        text = arguments.text("acknowledge", "")
        arguments.end()
        store = self._relay.store
        disputed = [row for row in await store.invitations() if row.disputed is not None]
        known = [row for row in disputed if text in ("all", row.token.hex())]
        if text not in ("", "all") and not known:
            raise Refused("unknown", "there is no alarm about an invitation with that token")
        for row in known:
            await store.dispute(row.token, None)
            self._relay.log.info("alarm.acknowledged", name=row.name, token=row.token.hex())
        return {
            "acknowledged": len(known),
            "alarms": [
                {
                    "token": row.token.hex(),
                    "name": row.name,
                    "used": row.used,
                    "disputed": row.disputed,
                }
                for row in disputed
                if row not in known
            ],
        }

    async def _penalties(self, given: dict[str, Any]) -> dict[str, Any]:
        arguments = Arguments(given)
        lift = arguments.text("lift", "")
        arguments.end()
        gate = self._relay.gate
        lifted = 0
        if lift:
            lifted = gate.lift(None if lift == "all" else source_of(lift.partition("/")[0]))
            self._relay.log.info("penalties.lifted", of=lift, lifted=lifted)
        left = sorted(gate.penalties().items(), key=lambda item: -item[1])
        return {
            "lifted": lifted,
            "penalties": [{"source": source, "seconds": round(left, 1)} for source, left in left],
        }
