"""``securerelay issued``: the certificates that the relay issued."""

from __future__ import annotations

import click

from securerelay.cli.admin import ask
from securerelay.cli.options import Common, Verb
from securerelay.cli.output import moment


@click.command(cls=Verb, data=True)
@click.option(
    "--expiring",
    type=click.IntRange(min=0),
    metavar="DAYS",
    help="Only those that are in use and run out within so many days.",
)
@click.pass_obj
def command(common: Common, expiring: int | None) -> None:
    """List the relay's peers with their certificates."""
    out = common.out
    for row in ask(common.data_folder(), "issued", expiring_days=expiring)["issued"]:
        out.say(row, "{name:<32}  {state:<8}  until {until}", until=moment(row["expires"]))
