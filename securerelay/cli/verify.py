"""``securerelay verify``: two people compare a number, and know whose keys they have."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import click

from securerelay import names
from securerelay.cli.contacts import record_of, short, tell_blocked
from securerelay.cli.exits import Failure
from securerelay.cli.options import Common, Verb
from securerelay.cli.output import Output
from securerelay.cli.profiles import Access, access_options
from securerelay.errors import UnknownContact

if TYPE_CHECKING:
    from securerelay.client import Client
    from securerelay.client.sealing.trust import Trust
    from securerelay.client.sealing.vault import Contact

_ROW = 4
"""Groups of digits in a line."""
_HEAD = "{name}, {level}, fingerprint {held} ..."


@click.command(cls=Verb)
@click.argument("peer", callback=lambda context, option, value: names.check_peer(value))
@click.option("--qr", is_flag=True, help="Show a code for PEER's camera as well.")
@click.option("--yes", is_flag=True, help="You have compared the number, and it is the same.")
@click.option("--scanned", metavar="TEXT", help="What PEER's code said to your camera.")
@access_options
@click.pass_obj
def command(
    common: Common, access: Access, peer: str, qr: bool, yes: bool, scanned: str | None
) -> None:
    """Compare keys with PEER: show the number that both of you must see, and note that it is so.

    Compare all twelve groups where the relay cannot listen in and change what is said: in a
    meeting, or in a call in which you know the voice. With --scanned the code that PEER shows with
    --qr is compared instead, whole. If the relay shows another key for PEER than the one you know,
    the number is the new key's, and verifying it accepts it.

    Nothing is noted without your word: an answer at the terminal, --yes or --scanned. If the
    numbers differ the status is 9.
    """
    if yes and scanned is not None:
        raise click.UsageError("--yes and --scanned exclude each other")
    from securerelay.cli.qr import Codes

    codes = Codes() if qr else None
    out = common.out
    with access.trust() as trust:
        contact = _contact(access, trust, peer)
        other = contact.pin.blocked or contact.pin.identity
        number, code = trust.safety_number(other), trust.qr_text(other)
        if not out.json and scanned is None:
            tell_blocked(out, contact)
            _show(out, contact, number)
            if codes is not None:
                codes.show(code)
        agreed: bool | None = True if yes else None
        if scanned is not None:
            agreed = trust.qr_matches(scanned.strip(), other)
        elif not yes:
            agreed = _asked(common, peer)
        if agreed is False:
            raise Failure(
                "not-verified",
                f"then these are not {peer}'s keys, or {peer} has not got yours: send nothing that "
                "matters, and tell the administrator",
            )
        if agreed:
            contact = trust.verify(other)
    if out.json or agreed:
        out.say({**record_of(contact), "number": number, "code": code}, "{name} is verified")
    else:
        out.note(f"if {peer} sees the same number: securerelay verify {peer} --yes")


def _contact(access: Access, trust: Trust, peer: str) -> Contact:
    """Return a contact; for one whose keys are not known yet the relay is asked."""
    try:
        return trust.contact(peer)
    except UnknownContact:

        async def work(reactor: Any, client: Client) -> None:
            assert client.sealing is not None, "commands keep a profile"
            with contextlib.suppress(Rejected):  # then it is pinned, or there is nothing to pin
                await client.sealing.contacts.want(peer)

        from securerelay.sealing.verdicts import Rejected

        access.run(work)
    return trust.contact(peer)


def _show(out: Output, contact: Contact, number: str) -> None:
    pin = contact.pin
    held = short((pin.blocked or pin.identity).fp)
    out.say({"name": contact.name, "level": pin.level.value, "held": held}, _HEAD)
    groups = number.split()
    for at in range(0, len(groups), _ROW):
        out.say({"groups": " ".join(groups[at : at + _ROW])}, "    {groups}")


def _asked(common: Common, peer: str) -> bool | None:
    """Ask the person at the terminal; None if there is nobody."""
    if common.json or sys.stdin is None or not sys.stdin.isatty():
        return None
    return click.confirm(f"Do they match what {peer} sees?", err=True)
