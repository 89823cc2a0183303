"""``securerelay penalties``: which addresses the relay refuses for now."""

from __future__ import annotations

import click

from securerelay.cli.admin import ask
from securerelay.cli.options import Common, Verb


@click.command(cls=Verb, data=True)
@click.pass_obj
def command(common: Common) -> None:
    """List the addresses from which too many handshakes failed, and for how long each is refused.

    The longest comes first. Of IPv6 addresses the first 64 bits count.
    """
    for row in ask(common.data_folder(), "penalties")["penalties"]:
        common.out.say(row, "{source:<43}  {seconds} s")
