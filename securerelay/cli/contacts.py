"""``securerelay contacts``: whose keys are known, and how well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from securerelay.cli.options import Common, Verb
from securerelay.cli.output import Output, moment
from securerelay.cli.profiles import Access, access_options

if TYPE_CHECKING:
    from securerelay.client.sealing.vault import Contact


@click.command(cls=Verb)
@access_options
@click.pass_obj
def command(common: Common, access: Access) -> None:
    """List contacts: whose keys are known, since when they are, and how well.

    A contact is "seen" when its keys were kept at first sight, "verified" when you compared them,
    and "changed" when you had, and it moved to new keys that the old ones signed. One that is
    BLOCKED is shown by the relay with another key than the one held; nothing is sealed for it until
    you verify it, or accept the new key. A name that was REVOKED, or CLOSED by its owner, gets no
    messages any more, whatever key the relay shows for it.
    """
    with access.trust() as trust:
        ended = trust.ended()
        for contact in trust.contacts():
            gone = ended.get(contact.name)
            common.out.say(
                {**record_of(contact), "ended": gone},
                "{name:<32}  {level:<8}  since {since_}  {short}{mark}",
                since_=moment(contact.since or None),
                short=short(contact.pin.fp),
                mark=_mark(contact, gone),
            )


def _mark(contact: Contact, ended: str | None) -> str:
    if ended is not None:
        return f"  {ended.removeprefix('peer-').upper()}: this name has ended"
    return "  BLOCKED: another key is offered" if contact.pin.blocked else ""


def record_of(contact: Contact) -> dict[str, Any]:
    """Return what programs get about a contact."""
    pin = contact.pin
    return {
        "name": contact.name,
        "level": pin.level.value,
        "since": contact.since or None,
        "fingerprint": pin.fp.hex(),
        "blocked": pin.blocked.fp.hex() if pin.blocked else None,
    }


def short(fp: bytes) -> str:
    """Return the beginning of a fingerprint, in groups; enough to tell two apart at a glance."""
    return " ".join(fp[at : at + 2].hex() for at in range(0, 8, 2))


def tell_blocked(out: Output, contact: Contact) -> None:
    """Remark that another key is offered, and what to do."""
    if contact.pin.blocked is not None:
        out.note(
            f"{contact.name}'s key changed: the relay shows another one than you know. Ask "
            f"{contact.name}, not through the relay, whether that is right"
        )
