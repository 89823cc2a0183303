"""``securerelay sent``: what became of the messages that this profile sent."""

from __future__ import annotations

import click

from securerelay.cli.options import Common, Verb
from securerelay.cli.output import moment
from securerelay.client.rows import STATES, Record
from securerelay.identity import profiles


@click.command(cls=Verb)
@click.option(
    "--count",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    metavar="N",
    help="How many, the newest.",
)
@click.option("--state", type=click.Choice(STATES), help="Only messages in this state.")
@click.pass_obj
def command(common: Common, count: int, state: str | None) -> None:
    """Show what became of the messages that were sent, the newest last.

    A message is queued until the relay has answered for it; then it is accepted, and delivered once
    the recipient's program has acknowledged it, if that was asked for; expired if its time ran out
    before; or refused, with the reason. All that is the relay's word. A message is read once its
    recipient has said so in a sealed message of its own, which comes with the next listen or chat.
    Members of a room that do not get a message are named with it. This is remembered for 30 days,
    and shown without asking the relay.
    """
    from securerelay.client.state import NAME, State

    folder = profiles.find(common.profile)
    if not (folder / NAME).exists():
        return
    kept = State(folder)
    try:
        records = kept.sent(count, state)
    finally:
        kept.close()
    for record in records:
        _say(common, record)


def _say(common: Common, record: Record) -> None:
    shown = {
        "to": record.to,
        "stream": record.stream,
        "seq": record.seq,
        "size": record.size,
        "state": record.state,
        "code": record.code,
        "queued": record.queued,
        "settled": record.settled,
        "delivered": record.delivered,
        "read": record.read,
        "missed": record.missed,
    }
    template = "{sent}  {to}  {state}"
    if record.code is not None:
        template += " ({code})"
    elif record.settled is not None or record.delivered is not None:
        template += " {when}"
    if record.missed:
        template += "; not by {not_by}"
    when = moment(record.read or record.delivered or record.settled)
    not_by = ", ".join(f"{name} ({code})" for name, code in record.missed.items())
    common.out.say(shown, template, sent=moment(record.queued), when=when, not_by=not_by)
