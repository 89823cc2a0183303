"""``securerelay room``: rooms, where one message reaches all members."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
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
    from securerelay.client.sealing.roomsealing import RoomSealing

JOIN = click.Choice(["invitation", "open"])
POST = click.Choice(["members", "owner"])
ASKS = "application/vnd.securerelay.join"
"""The content type of a message that asks an owner."""


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
    return await told(client.call(f"room.{method}", given))


async def told(answer: Awaitable[dict[str, Any]], room: str = "") -> dict[str, Any]:
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
        "{room}: {count} members, owner {owner}, join: {join}, post: {post}, version {version}, "
        "{seal}",
        seal=f"sealed for list {room['listed']}" if room["listed"] else "plain",
    )


def rooms_of(client: Client) -> RoomSealing:
    """Return what a client knows of rooms whose members are signed."""
    assert client.sealing is not None, "commands keep a profile"
    return client.sealing.rooms


def _run(common: Common, access: Access, method: str, **parameters: Any) -> None:
    async def work(reactor: Any, client: Client) -> None:
        say(common.out, await ask(client, method, **parameters))

    access.run(work)


@command.command(cls=Verb)
@room_argument
@peers_argument(required=False)
@click.option("--join", type=JOIN, default="invitation", show_default=True, help="Who may join.")
@click.option("--post", type=POST, default="members", show_default=True, help="Who may post.")
@click.option(
    "--plain", is_flag=True, help="For services that do not seal: the relay reads what is sent."
)
@access_options
@click.pass_obj
def create(
    common: Common,
    access: Access,
    room: str,
    peer: tuple[str, ...],
    join: str,
    post: str,
    plain: bool,
) -> None:
    """Make the room ROOM (with or without its @), yours, with each PEER in it.

    You sign the list of its members, and what is sent there is sealed for them: the relay can
    neither read it nor add somebody. With --join open every peer finds the room and may ask to be
    in it; you are told, and add it or not. With --post owner nobody but you may send to it.

    A room made with --plain has no signed list: the relay keeps its members, with --join open peers
    join by themselves, and only clients that name the room as plain send to it.
    """

    async def work(reactor: Any, client: Client) -> None:
        if plain:
            made = await ask(client, "create", room=room, join=join, post=post)
            if peer:
                made = await ask(client, "add", room=room, peers=list(peer))
        else:
            made = await told(rooms_of(client).owner.create(room, peer, join, post), room)
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
    """Make each PEER a member of your room: all of them, or none.

    In a sealed room you sign them as new members with the keys that you know of them; they open
    what is sent from then on, and nothing earlier. Naming a member again signs the keys that you
    know of it now.
    """

    async def work(reactor: Any, client: Client) -> None:
        if await listed(client, room, version):
            say(common.out, await told(rooms_of(client).owner.add(room, peer), room))
        else:
            say(common.out, await ask(client, "add", room=room, peers=list(peer), version=version))

    access.run(work)


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

    async def work(reactor: Any, client: Client) -> None:
        if await listed(client, room, version):
            say(common.out, await told(rooms_of(client).owner.remove(room, peer), room))
        else:
            peers = list(peer)
            say(common.out, await ask(client, "remove", room=room, peers=peers, version=version))

    access.run(work)


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
    """Become a member of a room that is open, or ask its owner if the members are signed."""

    async def work(reactor: Any, client: Client) -> None:
        try:
            say(common.out, await ask(client, "join", room=room))
        except Failure as failure:
            if failure.code != "signed":
                raise
            present = await ask(client, "members", room=room, limit=1)
            owner = str(present["owner"])
            await client.send(owner, room.encode(), content_type=ASKS)
            common.out.say(
                {"room": room, "owner": owner, "asked": True},
                "{owner} has been asked to let you into {room}",
            )

    access.run(work)


@command.command(cls=Verb)
@room_argument
@access_options
@click.pass_obj
def leave(common: Common, access: Access, room: str) -> None:
    """Be a member no more; what was sent before still comes.

    The members of a sealed room go on sealing for you until its owner signs the next list, but the
    relay brings you nothing of it.
    """
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
        await rooms_of(client).lists.forget(room)
        common.out.say({"room": room, "deleted": True}, "{room} is deleted")

    access.run(work)


@command.command(cls=Verb)
@room_argument
@access_options
@click.pass_obj
def forget(common: Common, access: Access, room: str) -> None:
    """Forget who owns ROOM and is in it, because it was deleted and made anew.

    Whose room it was is remembered, so that nobody can put another one in its place: "the owner of
    @team changed". Ask somebody you trust before you forget it; then the relay's next list is taken
    as if the room were seen for the first time.
    """

    async def work(reactor: Any, client: Client) -> None:
        if not await rooms_of(client).lists.forget(room):
            raise Failure("unknown", f"nothing is known of {room}")
        common.out.say({"room": room, "forgotten": True}, "{room} is forgotten")

    access.run(work, connected=False)


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
            keys = ("room", "owner", "version", "join", "post", "count", "listed", "member")
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
