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
    """List the peers, and whether they are connected, or even listening."""

    async def work(reactor: Any, client: Client) -> None:
        await show(client, common.out)
        if watch:
            await follow(client, common.out)

    access.run(work, durable=False)


async def show(client: Client, out: Output) -> None:
    """Write a line for each peer; a long list comes in parts."""
    after = ""
    while True:
        answer = await client.call("peer.list", {"after": after})
        for peer in answer["peers"]:
            _say(out, peer)
            after = peer["peer"]
        if not answer["more"]:
            return


async def follow(client: Client, out: Output) -> None:
    """Write a line whenever a peer comes or goes; for ever."""
    async for event in await client.watch():
        if event.kind == "presence":
            _say(out, event.data)


def _say(out: Output, peer: dict[str, Any]) -> None:
    here = "listening" if peer["listening"] else "connected"
    state = here if peer["online"] else "away"
    record = {"name": peer["peer"], "online": peer["online"], "listening": peer["listening"]}
    out.say(record, "{name:<32}  {state}", state=state)
