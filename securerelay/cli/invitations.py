"""``securerelay invitations``: what invitations there are."""

from __future__ import annotations

import click

from securerelay.cli.admin import ask
from securerelay.cli.options import Common, Verb
from securerelay.cli.output import moment


@click.command(cls=Verb, data=True)
@click.option("--all", "every", is_flag=True, help="Used, withdrawn and expired ones too.")
@click.pass_obj
def command(common: Common, every: bool) -> None:
    """List the invitations that can still be used, with the tokens to withdraw them by."""
    out = common.out
    for row in ask(common.data_folder(), "invitations")["invitations"]:
        if every or row["state"] == "open":
            out.say(
                row, "{token}  {name:<32}  {state:<9}  until {until}", until=moment(row["expires"])
            )
