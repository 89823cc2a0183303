"""What verbs ask about rooms, and how they show the answers."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, TypeVar

from securerelay.cli.exits import Failure
from securerelay.cli.output import Output, plural
from securerelay.errors import Refused

if TYPE_CHECKING:
    from securerelay.client import Client
    from securerelay.client.sealing.roomsealing import RoomSealing

Told = TypeVar("Told")


async def ask(client: Client, method: str, **parameters: Any) -> dict[str, Any]:
    """Call a method about a room; what is not given is left out.

    Raises:
        Failure: what the relay refused, in its own words.
    """
    given = {key: value for key, value in parameters.items() if value is not None}
    return await told(client.call(f"room.{method}", given))


async def told(answer: Awaitable[Told], room: str = "") -> Told:
    """Wait for an answer about a room.

    Args:
        answer: to wait for.
        room: what it is about.

    Raises:
        Failure: what was refused, in the words that came with it.
    """
    from securerelay.sealing.verdicts import Rejected

    try:
        return await answer
    except Rejected as rejected:
        raise Failure(rejected.code, rejected.verdict.words(room=room, peer=room)) from None
    except Refused as refusal:
        if not refusal.detail:
            raise
        raise Failure(refusal.code, refusal.detail[:300]) from None


async def listed(client: Client, room: str, version: int | None) -> bool:
    """Tell whether the members of a room are a list that its owner signed.

    Args:
        client: connected.
        room: its name.
        version: which the room must have; None for any.

    Raises:
        Failure: ``room-changed`` if it has another.
    """
    present = await ask(client, "members", room=room, limit=1)
    if present["listed"] and version not in (None, present["version"]):
        raise Failure("room-changed", f"{room} has version {present['version']} by now")
    return bool(present["listed"])


def say(out: Output, room: dict[str, Any]) -> None:
    """Write one line about a room."""
    keys = ("room", "owner", "version", "join", "post", "count", "listed")
    out.say(
        {key: room[key] for key in keys},
        "{room}: {members}, owner {owner}, join: {join}, post: {post}, version {version}, {seal}",
        members=plural(room["count"], "member"),
        seal=f"sealed for list {room['listed']}" if room["listed"] else "plain",
    )


def rooms_of(client: Client) -> RoomSealing:
    """Return what a client knows of rooms whose members are signed."""
    assert client.sealing is not None, "commands keep a profile"
    return client.sealing.rooms


async def show_rooms(client: Client, out: Output) -> None:
    """Write a line for each room; a long list comes in parts."""
    from securerelay.client.pages import pages

    keys = ("room", "owner", "version", "join", "post", "count", "listed", "member")
    async for answer in pages(lambda after: ask(client, "list", after=after), "rooms", *keys):
        for room in answer["rooms"]:
            out.say(
                {key: room[key] for key in keys},
                "{room:<33}  {count:>4}  {what}",
                what="member" if room["member"] else "open",
            )


async def show_members(client: Client, out: Output, room: str) -> None:
    """Write a line for each member; a long list comes in parts."""
    from securerelay.client.pages import pages

    admins: set[str] | None = None
    asking = pages(lambda after: ask(client, "members", room=room, after=after), "members")
    async for answer in asking:
        if admins is None:
            admins = await admins_of(client, room) if answer.get("listed") else set()
        for name in answer["members"]:
            owns, admin = name == answer.get("owner"), name in admins
            mark = " (owner)" if owns else " (admin)" if admin else ""
            out.say({"name": name, "owner": owns, "admin": admin}, "{name}{mark}", mark=mark)


async def admins_of(client: Client, room: str) -> set[str]:
    """Return who signs a room's list besides its owner."""
    one = await told(rooms_of(client).lists.current(room), room)
    return {name for name, fp in one.members.items() if fp in one.grant.admins}
