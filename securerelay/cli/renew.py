"""``securerelay renew``: a new certificate for the same name and key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from securerelay.cli.options import Common, Verb
from securerelay.cli.output import moment
from securerelay.cli.profiles import Access, access_options

if TYPE_CHECKING:
    from securerelay.client import Client


@click.command(cls=Verb)
@access_options
@click.pass_obj
def command(common: Common, access: Access) -> None:
    """Renew the profile's certificate, if it is due.

    It is due when two thirds of its life are over; the relay gives no new one before. A client that
    stays connected sees to it by itself.
    """
    profile = access.profile
    # Only a session that was authenticated by certificate may renew it: do without a ticket.
    profile.key(access.passphrase)
    profile.save_tickets(())
    before = profile.certificate

    async def work(reactor: Any, client: Client) -> None:
        from securerelay.client.peer import ProfileIdentity

        ProfileIdentity(profile).keep_certificate(await client.call("cert.renew"))

    access.run(work, durable=False)
    profile.reload()
    expires = int(profile.peer.not_after.timestamp() * 1000)
    common.out.say(
        {"name": profile.name, "renewed": profile.certificate != before, "expires": expires},
        "{name}'s certificate is {new}good until {until}",
        new="new, and " if profile.certificate != before else "",
        until=moment(expires),
    )
