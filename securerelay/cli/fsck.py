"""``securerelay fsck``: whether a relay's database is sound."""

from __future__ import annotations

import click

from securerelay.cli.admin import stopped
from securerelay.cli.exits import OTHER, REACHED
from securerelay.cli.options import Common, Verb


@click.command(cls=Verb, data=True)
@click.pass_obj
def command(common: Common) -> int:
    """Check every page of the relay's database, and every message, and change nothing.

    The relay must not run. With status 1 there is something wrong, which is told line by line; a
    relay leaves out damaged messages and goes on. If more is damaged, restore a backup.
    """
    from securerelay.store.copies import examine

    folder = common.data_folder().absolute()
    with stopped():
        problems = examine(folder)
    template = "\n".join(["{data} is damaged"] + [f"  {{p{at}}}" for at in range(len(problems))])
    common.out.say(
        {"data": str(folder), "sound": not problems, "problems": problems},
        template if problems else "the database in {data} is sound",
        **{f"p{at}": problem for at, problem in enumerate(problems)},
    )
    return OTHER if problems else REACHED
