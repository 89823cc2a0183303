"""``securerelay renew``: a new certificate for the same name, and a new key if it shall be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from securerelay.cli.keys import DEFAULT_SIZE, SIZES, facts
from securerelay.cli.options import Common, Verb
from securerelay.cli.output import moment
from securerelay.cli.profiles import Access, access_options

if TYPE_CHECKING:
    from securerelay.client import Client
    from securerelay.client.rotation import Rotated
    from securerelay.identity.profile import Profile


@click.command(cls=Verb)
@click.option("--new-key", is_flag=True, help="Make new keys; the old ones are of no use after.")
@click.option(
    "--bits",
    type=click.Choice(SIZES),
    default=DEFAULT_SIZE,
    show_default=True,
    help="The size of the new key.",
)
@access_options
@click.pass_obj
def command(common: Common, access: Access, new_key: bool, bits: str) -> None:
    """Renew the profile's certificate, if it is due, or its keys, whenever you like.

    A certificate is due when two thirds of its life are over; the relay gives no new one before. A
    client that stays connected sees to it by itself.

    With --new-key the profile gets new keys and a certificate for them. Contacts follow by
    themselves, for the old key signs the new one; those who had verified you see "changed" until
    they compare again. The relay refuses the old key from then on, so other programs that use this
    profile end and have to be started again. If it fails or is interrupted, do it again: it goes on
    where it stopped.
    """
    profile = access.profile
    profile.key(access.passphrase)
    if new_key:
        _rotate(common, access, int(bits))
        return
    # Only a session that was authenticated by certificate may renew it: do without a ticket.
    profile.save_tickets(())
    before = profile.certificate

    async def work(reactor: Any, client: Client) -> None:
        from securerelay.client.peer import ProfileIdentity

        ProfileIdentity(profile).keep_certificate(await client.call("cert.renew"))

    access.run(work, durable=False)
    profile.reload()
    expires = _expires(profile)
    common.out.say(
        {"name": profile.name, "renewed": profile.certificate != before, "expires": expires},
        "{name}'s certificate is {new}good until {until}",
        new="new, and " if profile.certificate != before else "",
        until=moment(expires),
    )


def _rotate(common: Common, access: Access, bits: int) -> None:
    from securerelay.cli.run import run
    from securerelay.client.rotation import rotate

    async def work(reactor: Any) -> Rotated:
        return await rotate(
            access.profile,
            passphrase=access.passphrase,
            bits=bits,
            groups=access.groups,
            reactor=reactor,
        )

    rotated = run(work)
    profile = rotated.profile
    expires = _expires(profile)
    common.out.say(
        {"name": profile.name, **facts(profile.key()), "used": rotated.used, "expires": expires},
        "{name} has new keys, and a certificate for them that is good until {until}",
        until=moment(expires),
    )
    if not rotated.used:
        common.out.note(
            "the relay could not be reached with them yet; the old key is good until it can"
        )


def _expires(profile: Profile) -> int:
    return int(profile.peer.not_after.timestamp() * 1000)
