"""``securerelay room``: rooms, where one message reaches all members."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from securerelay import names
from securerelay.cli.exits import Failure
from securerelay.cli.options import Common, Verb
from securerelay.cli.output import Output
from securerelay.cli.profiles import Access, access_options
from securerelay.errors import Refused

if TYPE_CHECKING:
    from securerelay.client import Client

JOIN = click.Choice(["invitation", "open"])
POST = click.Choice(["members", "owner"])


@click.group()
def command() -> None:
    """Make rooms, look after them, and be in them; `securerelay send @ROOM` sends to one."""


def _room(context: click.Context, option: click.Parameter, value: str) -> str:
    """Read a room's name, with or without its @ (which some shells treat specially)."""
    return names.check_room(value if value.startswith("@") else f"@{value}")


def _peers(
    context: click.Context, option: click.Parameter, value: tuple[str, ...]
) -> tuple[str, ...]:
    return tuple(names.check_peer(name) for name in value)


room_argument = click.argument("room", callback=_room)
version_option = click.option(
    "--if-version",
    "version",
    type=click.IntRange(min=1),
    metavar="N",
    help="Only if this still is the room's version.",
)


def peers_argument(required: bool = True) -> Callable[..., Any]:
    """Make the argument for any number of peers."""
    return click.argument("peer", nargs=-1, required=required, callback=_peers)


async def ask(client: Client, method: str, **parameters: Any) -> dict[str, Any]:
    """Call a method about a room; what is not given is left out.

    Raises:
        Failure: what the relay refused, in its own words.
    """
    given = {key: value for key, value in parameters.items() if value is not None}
    try:
        return await client.call(f"room.{method}", given)
    except Refused as refusal:
        if not refusal.detail:
            raise
        raise Failure(refusal.code, refusal.detail[:300]) from None


def say(out: Output, room: dict[str, Any]) -> None:
    """Write one line about a room."""
    keys = ("room", "owner", "version", "join", "post", "count")
    out.say(
        {key: room[key] for key in keys},
        "{room}: {count} members, owner {owner}, join: {join}, post: {post}, version {version}",
    )


def _run(common: Common, access: Access, method: str, **parameters: Any) -> None:
    async def work(reactor: Any, client: Client) -> None:
        say(common.out, await ask(client, method, **parameters))

    access.run(work)


@command.command(cls=Verb)
@room_argument
@peers_argument(required=False)
@click.option("--join", type=JOIN, default="invitation", show_default=True, help="Who may join.")
@click.option("--post", type=POST, default="members", show_default=True, help="Who may post.")
@access_options
@click.pass_obj
def create(
    common: Common, access: Access, room: str, peer: tuple[str, ...], join: str, post: str
) -> None:
    """Make the room ROOM (with or without its @), yours, with each PEER in it.

    With --join open every peer may join; else you add members. With --post owner nobody but you may
    send to it.
    """

    async def work(reactor: Any, client: Client) -> None:
        made = await ask(client, "create", room=room, join=join, post=post)
        if peer:
            made = await ask(client, "add", room=room, peers=list(peer))
        say(common.out, made)

    access.run(work)


@command.command(cls=Verb)
@room_argument
@peers_argument()
@version_option
@access_options
@click.pass_obj
def add(
    common: Common, access: Access, room: str, peer: tuple[str, ...], version: int | None
) -> None:
    """Make each PEER a member of your room: all of them, or none."""
    _run(common, access, "add", room=room, peers=list(peer), version=version)


@command.command(cls=Verb)
@room_argument
@peers_argument()
@version_option
@access_options
@click.pass_obj
def remove(
    common: Common, access: Access, room: str, peer: tuple[str, ...], version: int | None
) -> None:
    """Make each PEER a member of your room no more; what was sent before stays theirs."""
    _run(common, access, "remove", room=room, peers=list(peer), version=version)


@command.command(cls=Verb)
@room_argument
@click.option("--join", type=JOIN, help="Who may join.")
@click.option("--post", type=POST, help="Who may post.")
@click.option("--owner", metavar="PEER", help="Hand the room over to this member.")
@version_option
@access_options
@click.pass_obj
def change(
    common: Common,
    access: Access,
    room: str,
    join: str | None,
    post: str | None,
    owner: str | None,
    version: int | None,
) -> None:
    """Change who may join and post in your room, or whose it is."""
    if owner is not None:
        names.check_peer(owner)
    _run(common, access, "change", room=room, join=join, post=post, owner=owner, version=version)


@command.command(cls=Verb, data=True)
@room_argument
@click.argument("peer", callback=lambda context, option, value: names.check_peer(value))
@click.pass_obj
def give(common: Common, room: str, peer: str) -> None:
    """Give any room to PEER, a member; for the administrator, when the owner is gone for good."""
    from securerelay.cli.admin import ask as ask_relay

    answer = ask_relay(common.data_folder(), "give", room=room, owner=peer)
    common.out.say(
        {"room": answer["room"], "owner": answer["owner"], "version": answer["version"]},
        "{room} now is {owner}'s",
    )


@command.command(cls=Verb)
@room_argument
@access_options
@click.pass_obj
def join(common: Common, access: Access, room: str) -> None:
    """Become a member of a room that is open."""
    _run(common, access, "join", room=room)


@command.command(cls=Verb)
@room_argument
@access_options
@click.pass_obj
def leave(common: Common, access: Access, room: str) -> None:
    """Be a member no more; what was sent before still comes."""
    _run(common, access, "leave", room=room)


@command.command(cls=Verb)
@room_argument
@version_option
@access_options
@click.pass_obj
def delete(common: Common, access: Access, room: str, version: int | None) -> None:
    """Remove your room for good; what was sent before still reaches its members."""

    async def work(reactor: Any, client: Client) -> None:
        await ask(client, "delete", room=room, version=version)
        common.out.say({"room": room, "deleted": True}, "{room} is deleted")

    access.run(work)


@command.command("list", cls=Verb)
@access_options
@click.pass_obj
def list_(common: Common, access: Access) -> None:
    """List the rooms that you are in, and those that you could join."""

    async def work(reactor: Any, client: Client) -> None:
        await show_rooms(client, common.out)

    access.run(work)


@command.command(cls=Verb)
@room_argument
@access_options
@click.pass_obj
def show(common: Common, access: Access, room: str) -> None:
    """Show a room: how many are in it, whose it is, and who may join and post."""

    async def work(reactor: Any, client: Client) -> None:
        say(common.out, await ask(client, "members", room=room, limit=1))

    access.run(work)


@command.command(cls=Verb)
@room_argument
@access_options
@click.pass_obj
def members(common: Common, access: Access, room: str) -> None:
    """List the members of a room."""

    async def work(reactor: Any, client: Client) -> None:
        await show_members(client, common.out, room)

    access.run(work)


async def show_rooms(client: Client, out: Output) -> None:
    """Write a line for each room; a long list comes in parts."""
    after = ""
    while True:
        answer = await ask(client, "list", after=after)
        for room in answer["rooms"]:
            keys = ("room", "owner", "version", "join", "post", "count", "member")
            out.say(
                {key: room[key] for key in keys},
                "{room:<33}  {count:>4}  {what}",
                what="member" if room["member"] else "open",
            )
            after = room["room"]
        if not answer["more"]:
            return


async def show_members(client: Client, out: Output, room: str) -> None:
    """Write a line for each member; a long list comes in parts."""
    after = ""
    while True:
        answer = await ask(client, "members", room=room, after=after)
        for name in answer["members"]:
            owns = name == answer["owner"]
            out.say({"name": name, "owner": owns}, "{name}{mark}", mark=" (owner)" if owns else "")
            after = name
        if not answer["more"]:
            return
