"""``securerelay pardon``: let addresses connect again."""

from __future__ import annotations

import click

from securerelay.cli.admin import ask
from securerelay.cli.exits import Failure
from securerelay.cli.options import Common, Verb


@click.command(cls=Verb, data=True)
@click.argument("source", required=False)
@click.option("--all", "every", is_flag=True, help="All of them.")
@click.pass_obj
def command(common: Common, source: str | None, every: bool) -> None:
    """Lift the penalty of the address SOURCE, as `securerelay penalties` lists it, or of all."""
    if every == bool(source):
        raise click.UsageError("give either an address or --all")
    lifted = ask(common.data_folder(), "penalties", lift="all" if every else source)["lifted"]
    if not every and not lifted:
        raise Failure("unknown", f"there is no penalty for {source}")
    common.out.say({"source": source, "lifted": lifted}, "penalties lifted: {lifted}")
