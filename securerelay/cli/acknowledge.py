"""``securerelay acknowledge``: take an alarm off the list."""

from __future__ import annotations

import click

from securerelay.cli.admin import ask
from securerelay.cli.options import Common, Verb


@click.command(cls=Verb, data=True)
@click.argument("token", required=False)
@click.option("--all", "every", is_flag=True, help="All of them.")
@click.pass_obj
def command(common: Common, token: str | None, every: bool) -> None:
    """Take the alarm that `securerelay alarms` lists under TOKEN off the list, or all of them."""
    if every == bool(token):
        raise click.UsageError("give either a token or --all")
    answer = ask(common.data_folder(), "alarms", acknowledge="all" if every else token)
    common.out.say(
        {"token": token, "acknowledged": answer["acknowledged"]},
        "alarms acknowledged: {acknowledged}",
    )
