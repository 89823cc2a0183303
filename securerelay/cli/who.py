"""``securerelay who``: the peers of the relay, as far as the profile may see them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import click

from securerelay.cli.options import Common, Verb
from securerelay.cli.output import Output
from securerelay.cli.profiles import Access, access_options
from securerelay.errors import ConnectError

if TYPE_CHECKING:
    from securerelay.client import Client

FIELDS = ("peer", "online", "listening")
"""What a relay says of a peer."""


@click.command(cls=Verb)
@click.option("--watch", is_flag=True, help="Go on, and tell who comes and goes.")
@access_options
@click.pass_obj
def command(common: Common, access: Access, watch: bool) -> None:
    """List the peers, and whether they are connected, or even listening."""

    async def work(reactor: Any, client: Client) -> None:
        board = Board(common.out)
        if watch:
            await follow(client, board, common.out)
        else:
            await show(client, board)

    access.run(work, durable=False)


class Board:
    """Who is here as far as was told; tells what is new.

    Args:
        out: where to.
    """

    def __init__(self, out: Output) -> None:
        self._out = out
        self._told: dict[str, tuple[bool, bool]] = {}

    def tell(self, peer: dict[str, Any]) -> None:
        """Write a line for a peer, unless it would say nothing new."""
        name, online, listening = str(peer["peer"]), bool(peer["online"]), bool(peer["listening"])
        if self._told.get(name) == (online, listening):
            return
        self._told[name] = online, listening
        state = ("listening" if listening else "connected") if online else "away"
        record = {"name": name, "online": online, "listening": listening}
        self._out.say(record, "{name:<32}  {state}", state=state)

    def keep(self, names: set[str]) -> None:
        """Say of all but these that they are away."""
        for name in self._told.keys() - names:
            self.tell({"peer": name, "online": False, "listening": False})


async def show(client: Client, board: Board) -> None:
    """Tell of each peer; a long list comes in parts."""
    from securerelay.client.pages import pages

    names: set[str] = set()
    asking = pages(
        lambda after: client.call("peer.list", {"after": after}),
        "peers",
        *FIELDS,
    )
    async for answer in asking:
        for peer in answer["peers"]:
            board.tell(peer)
            names.add(peer["peer"])
    board.keep(names)


async def follow(client: Client, board: Board, out: Output) -> None:
    """Tell of each peer, and whenever one comes or goes, for ever.

    Nobody tells what happens while there is no connection, so afterwards it is looked up.
    """
    events = await client.watch()
    await show(client, board)
    async for event in events:
        if event.kind == "presence" and event.data.keys() >= set(FIELDS):
            board.tell(event.data)
        elif event.kind == "disconnected":
            out.note("the connection is lost; what changes meanwhile is told when it is back")
        elif event.kind == "connected":
            with contextlib.suppress(ConnectError):  # that is an event again
                await show(client, board)
