"""``securerelay who``: the peers of the relay, as far as the profile may see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from securerelay.cli.options import Common, Verb
from securerelay.cli.output import Output
from securerelay.cli.profiles import Access, access_options

if TYPE_CHECKING:
    from securerelay.client import Client


@click.command(cls=Verb)
@click.option("--watch", is_flag=True, help="Go on, and tell who comes and goes.")
@access_options
@click.pass_obj
def command(common: Common, access: Access, watch: bool) -> None:
    """List the peers, and whether they are connected."""
    from securerelay.cli.run import run

    async def work(reactor: Any) -> None:
        async with access.connection(reactor) as client:
            await show(client, common.out)
            if watch:
                await follow(client, common.out)

    run(work)


async def show(client: Client, out: Output) -> None:
    """Write a line for each peer."""
    for peer in (await client.call("peer.list"))["peers"]:
        _say(out, peer)


async def follow(client: Client, out: Output) -> None:
    """Write a line whenever a peer comes or goes; for ever."""
    async for event in await client.watch():
        if event.kind == "presence":
            _say(out, event.data)


def _say(out: Output, peer: dict[str, Any]) -> None:
    out.say(
        {"name": peer.get("name"), "online": bool(peer.get("online"))},
        "{name:<32}  {state}",
        state="connected" if peer.get("online") else "away",
    )
