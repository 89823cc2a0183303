"""``securerelay withdraw``: take an invitation back before it is used."""

from __future__ import annotations

import click

from securerelay.cli.admin import ask
from securerelay.cli.options import Common, Verb


@click.command(cls=Verb, data=True)
@click.argument("token")
@click.pass_obj
def command(common: Common, token: str) -> None:
    """Take back the invitation that `securerelay invitations` lists under TOKEN."""
    ask(common.data_folder(), "withdraw", token=token)
    common.out.say({"token": token, "withdrawn": True}, "the invitation {token} is withdrawn")
