"""``securerelay renew``: a new certificate for the same name and key."""

from __future__ import annotations

from typing import Any

import click

from securerelay.cli.options import Common, Verb
from securerelay.cli.output import moment
from securerelay.cli.profiles import Access, access_options


@click.command(cls=Verb)
@access_options
@click.pass_obj
def command(common: Common, access: Access) -> None:
    """Renew the profile's certificate now.

    A client that is connected does so by itself when two thirds of the certificate's life are over.
    """
    from securerelay.cli.run import run

    async def work(reactor: Any) -> None:
        async with access.connection(reactor) as client:
            await client.renew()

    run(work)
    profile = access.profile
    profile.reload()
    expires = int(profile.peer.not_after.timestamp() * 1000)
    common.out.say(
        {"name": profile.name, "expires": expires},
        "{name}'s certificate is good until {until}",
        until=moment(expires),
    )
