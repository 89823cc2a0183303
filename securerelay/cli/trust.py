"""``securerelay trust``: a contact's new key, taken because its user says so."""

from __future__ import annotations

import click

from securerelay import names
from securerelay.cli.contacts import record_of
from securerelay.cli.options import Common, Verb
from securerelay.cli.profiles import Access, access_options


@click.command(cls=Verb)
@click.argument("peer", callback=lambda context, option, value: names.check_peer(value))
@click.option(
    "--accept-new-key",
    is_flag=True,
    help="Take the key that the relay offers for PEER in the place of the one you know.",
)
@access_options
@click.pass_obj
def command(common: Common, access: Access, peer: str, accept_new_key: bool) -> None:
    """Accept the new key of PEER, who is blocked because its key changed.

    Do this when PEER has told you, not through the relay, that its key is a new one: it lost its
    profile and joined anew. Whoever holds the new key reads what you send from now on, and what
    waits in the outbox. Nobody has compared it yet, so `securerelay verify PEER` comes next; it
    can also be used instead, and then compares first.
    """
    if not accept_new_key:
        raise click.UsageError(
            "say --accept-new-key if that is what you want; to compare keys: securerelay verify"
        )
    with access.trust() as trust:
        contact = trust.accept_new_key(peer)
        common.out.say(record_of(contact), "{name}'s new key is accepted, and not compared yet")
        if not common.out.json:
            common.out.note(
                "what waits in the outbox is sealed for it from now on; "
                f"next: securerelay verify {peer}"
            )
