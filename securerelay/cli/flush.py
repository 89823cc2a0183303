"""``securerelay flush``: send what is left in the outbox, and ask for missing receipts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from securerelay.cli.durations import Duration
from securerelay.cli.options import Common, Verb
from securerelay.cli.profiles import Access, access_options

if TYPE_CHECKING:
    from securerelay.client import Client


@click.command(cls=Verb)
@click.option(
    "--timeout",
    type=Duration(),
    default="60s",
    show_default=True,
    metavar="TIME",
    help="How long to try.",
)
@access_options
@click.pass_obj
def command(common: Common, access: Access, timeout: float) -> None:
    """Send what earlier commands have left in the outbox, and ask for missing receipts.

    There is no need for this where "securerelay listen", or a program of yours, runs all the time:
    it does so within seconds. What a program that still runs has in hand is left to it. If messages
    stay because they cannot be sealed for their recipient now, the exit status is as that of send.
    """

    async def work(reactor: Any, client: Client) -> None:
        await client.flush(timeout)
        left = await client.queued()
        common.out.say({"left": left}, "messages still in the outbox: {left}")
        if left:
            await client.drain(timeout)  # says why, if it is for want of keys

    access.run(work, timeout)
