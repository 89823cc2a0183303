"""``room.*``: making rooms, changing who is in them, and looking at them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from securerelay import names
from securerelay.errors import Refused
from securerelay.protocol.lines import encode
from securerelay.relay.methods import fields
from securerelay.relay.rooms import EVERYONE, Rooms, describe

if TYPE_CHECKING:
    from securerelay.relay.session import Session
    from securerelay.store.rows import RoomRow

MOST = 5000
"""Rooms or members in one answer, which then stays far below the limit of a message."""

MAX_LIST = 24_576
"""Bytes of a signed list; 300 members with the longest names need less."""
MOST_LISTS = 24
"""Signed lists in one call, which then stay below the limit of a message."""

JOIN = ("invitation", "open")
POST = ("members", "owner")

Parameters = dict[str, Any]


def _rooms(session: Session) -> tuple[Rooms, str]:
    return session.context.router.rooms, session.peer.text


def _room(parameters: Parameters) -> str:
    return names.check_room(fields.text(parameters, "room"))


def _version(parameters: Parameters) -> int | None:
    if parameters.get("version") is None:
        return None
    return fields.number(parameters, "version", 0, 0, (1 << 53) - 1)


def _rule(parameters: Parameters, key: str, known: tuple[str, ...]) -> str | None:
    value = parameters.get(key)
    if value is not None and value not in known:
        raise Refused("bad-request", f"{key} must be one of: {', '.join(known)}")
    return value


def _peers(parameters: Parameters) -> list[str]:
    value = parameters.get("peers")
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise Refused("bad-request", "peers must be a list of names")
    return [names.check_peer(name) for name in value]


def _answer(row: RoomRow) -> Parameters:
    return {**describe(row), "count": len(row.members)}


async def create(session: Session, parameters: Parameters) -> Parameters:
    """Make the room ``room`` with the caller as owner and first member.

    ``join`` is ``open`` or ``invitation`` (the default), ``post`` is ``members`` (the default) or
    ``owner``.
    """
    fields.only(parameters, "room", "join", "post")
    rooms, caller = _rooms(session)
    join = _rule(parameters, "join", JOIN) or JOIN[0]
    post = _rule(parameters, "post", POST) or POST[0]
    name = _room(parameters)
    row = await rooms.create(caller, name, join, post)
    session.context.log.info("room.made", source=caller, room=name)
    return _answer(row)


async def change(session: Session, parameters: Parameters) -> Parameters:
    """Set ``join``, ``post`` or ``owner``; what is left out stays."""
    fields.only(parameters, "room", "join", "post", "owner", "version")
    rooms, caller = _rooms(session)
    given = parameters.get("owner")
    row = await rooms.change(
        caller,
        _room(parameters),
        join=_rule(parameters, "join", JOIN),
        post=_rule(parameters, "post", POST),
        owner=None if given is None else names.check_peer(fields.text(parameters, "owner")),
        version=_version(parameters),
    )
    return _answer(row)


async def add(session: Session, parameters: Parameters) -> Parameters:
    """Make ``peers`` members: all of them, or none."""
    fields.only(parameters, "room", "peers", "version")
    rooms, caller = _rooms(session)
    version = _version(parameters)
    return _answer(await rooms.add(caller, _room(parameters), _peers(parameters), version))


async def remove(session: Session, parameters: Parameters) -> Parameters:
    """Make ``peers`` members no more."""
    fields.only(parameters, "room", "peers", "version")
    rooms, caller = _rooms(session)
    version = _version(parameters)
    return _answer(await rooms.remove(caller, _room(parameters), _peers(parameters), version))


async def join(session: Session, parameters: Parameters) -> Parameters:
    """Become a member of an open room."""
    fields.only(parameters, "room", "version")
    rooms, caller = _rooms(session)
    return _answer(await rooms.join(caller, _room(parameters), _version(parameters)))


async def leave(session: Session, parameters: Parameters) -> Parameters:
    """Be a member no more."""
    fields.only(parameters, "room", "version")
    rooms, caller = _rooms(session)
    return _answer(await rooms.leave(caller, _room(parameters), _version(parameters)))


async def delete(session: Session, parameters: Parameters) -> Parameters:
    """Remove a room for good."""
    fields.only(parameters, "room", "version")
    rooms, caller = _rooms(session)
    name = _room(parameters)
    await rooms.delete(caller, name, _version(parameters))
    session.context.log.info("room.deleted", source=caller, room=name)
    return {}


async def publish(session: Session, parameters: Parameters) -> Parameters:
    """Go on with the next signed ``list`` of the room's members."""
    fields.only(parameters, "room", "list")
    rooms, caller = _rooms(session)
    name = _room(parameters)
    raw = fields.octets(parameters, "list", MAX_LIST)
    row = await rooms.publish(caller, name, raw, session.context.handshake.ca_spki)
    session.context.log.info("room.listed", source=caller, room=name, version=row.listed)
    return _answer(row)


async def fetch(session: Session, parameters: Parameters) -> Parameters:
    """Tell the signed ``lists`` asked for, each by ``room`` and, if not the newest, ``version``.

    Their answers have the same order; what is not there for the caller is null.
    """
    fields.only(parameters, "lists")
    wanted = parameters.get("lists")
    if not isinstance(wanted, list) or not 1 <= len(wanted) <= MOST_LISTS:
        raise Refused("bad-request", f"lists must be a list of 1 to {MOST_LISTS}")
    rooms, caller = _rooms(session)
    asked = []
    for one in wanted:
        if not isinstance(one, dict):
            raise Refused("bad-request", "lists must have objects in it")
        fields.only(one, "room", "version")
        asked.append((_room(one), _version(one)))
    found = [await rooms.signed_list(caller, name, version) for name, version in asked]
    return {
        "lists": [
            None if row is None else _describe_list(row.room, row.version, row.raw) for row in found
        ]
    }


def _describe_list(room: str, version: int, raw: bytes) -> Parameters:
    return {"room": room, "version": version, "list": encode(raw)}


async def list_rooms(session: Session, parameters: Parameters) -> Parameters:
    """List the rooms that the caller is in or could join, sorted, without their members."""
    fields.only(parameters, "after", "limit")
    after = fields.text(parameters, "after", "")
    limit = fields.number(parameters, "limit", MOST, 1, MOST)
    rooms, caller = _rooms(session)
    rows = [row for row in await rooms.visible(caller) if row.name > after]
    listed = [{**_answer(row), "member": caller in row.members} for row in rows[:limit]]
    return {"rooms": listed, "more": len(rows) > limit}


async def members(session: Session, parameters: Parameters) -> Parameters:
    """Describe a room with its members, sorted; of ``@everyone`` those that the caller may see."""
    fields.only(parameters, "room", "after", "limit")
    after = fields.text(parameters, "after", "")
    limit = fields.number(parameters, "limit", MOST, 1, MOST)
    rooms, caller = _rooms(session)
    row = await rooms.find(_room(parameters), caller)
    found = [name for name in row.members if name > after]
    if row.name == EVERYONE:
        may_see = session.context.config.policy.may_see
        found = [name for name in found if may_see(caller, name)]
    return {**_answer(row), "members": found[:limit], "more": len(found) > limit}
