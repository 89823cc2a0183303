"""``securerelay room``: rooms, where one message reaches all members."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from securerelay import names
from securerelay.cli.exits import Failure
from securerelay.cli.options import Common, Family, Verb
from securerelay.cli.profiles import Access, access_options
from securerelay.cli.roomtalk import ask, listed, rooms_of, say, show_members, show_rooms, told

if TYPE_CHECKING:
    from securerelay.client import Client

JOIN = click.Choice(["invitation", "open"])
POST = click.Choice(["members", "owner"])
ASKS = "application/vnd.securerelay.join"
"""The content type of a message that asks an owner."""


@click.group(cls=Family)
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
    join by themselves, and only clients that name the room as plain send to it. The relay's
    configuration has to name it as well: [policy] plain.
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
    """Make each PEER a member of your room, or one that you are an admin of: all of them, or none.

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
    """Make each PEER a member no more, of a room that is yours or that you are an admin of.

    What was sent before stays theirs.
    """

    async def work(reactor: Any, client: Client) -> None:
        if await listed(client, room, version):
            say(common.out, await told(rooms_of(client).owner.remove(room, peer), room))
        else:
            peers = list(peer)
            say(common.out, await ask(client, "remove", room=room, peers=peers, version=version))

    access.run(work)


@command.command(cls=Verb)
@room_argument
@click.argument("change", type=click.Choice(["add", "remove"]))
@peers_argument()
@version_option
@access_options
@click.pass_obj
def admin(
    common: Common,
    access: Access,
    room: str,
    change: str,
    peer: tuple[str, ...],
    version: int | None,
) -> None:
    """Make each PEER, a member of your sealed room, an admin of it, or a mere member again.

    Admins add and remove members as you do: their clients sign the list, and a paper of yours in it
    says that they may. Who is an admin you alone say, and nobody can take the room from you. An
    admin whom you remove from the room is one no more.
    """

    async def work(reactor: Any, client: Client) -> None:
        if not await listed(client, room, version):
            raise Failure("not-permitted", f"{room} is plain: it has no signed list, nor admins")
        owner = rooms_of(client).owner
        make = owner.appoint if change == "add" else owner.dismiss
        say(common.out, await told(make(room, peer), room))

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
    """Change who may join and post in your room, or whose it is.

    A sealed room stays its owner's, whose signature its members rely on: name admins with
    `securerelay room admin`, or make another room.
    """
    if owner is not None:
        names.check_peer(owner)
    _run(common, access, "change", room=room, join=join, post=post, owner=owner, version=version)


@command.command(cls=Verb, data=True)
@room_argument
@click.argument("peer", callback=lambda context, option, value: names.check_peer(value))
@click.pass_obj
def give(common: Common, room: str, peer: str) -> None:
    """Give any room to PEER, a member; for the administrator, when the owner is gone for good.

    The members of a sealed room go on by the list that the old owner signed, and PEER cannot sign
    another: all that PEER can do with the room is to delete it, and to make one anew.
    """
    from securerelay.cli.admin import ask as ask_relay

    answer = ask_relay(common.data_folder(), "give", room=room, owner=peer)
    common.out.say(
        {"room": answer["room"], "owner": answer["owner"], "version": answer["version"]},
        "{room} now is {owner}'s",
    )
    if answer["listed"]:
        common.out.note(
            f"its list of members was signed by who had it before, and nobody can sign another: "
            f"{peer} can delete {room}, and make it anew"
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

    The relay brings you nothing of it any more. The members of a sealed room are told, and go on
    sealing for you until its owner, or an admin, signs the next list, which their clients do when
    they hear of it.
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
