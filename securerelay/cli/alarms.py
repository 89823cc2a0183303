"""``securerelay alarms``: invitations with which two keys came."""

from __future__ import annotations

import click

from securerelay.cli.admin import ask
from securerelay.cli.options import Common, Verb
from securerelay.cli.output import moment


@click.command(cls=Verb, data=True)
@click.pass_obj
def command(common: Common) -> None:
    """List the used invitations with which somebody came again, with another key.

    Somebody read the invitation who should not have: whoever came first has the name. Ask whom you
    meant; if it was not they, `securerelay revoke` the name. The log tells the address. An alarm
    stays until it is acknowledged.
    """
    for row in ask(common.data_folder(), "alarms")["alarms"]:
        common.out.say(
            row,
            "{token}  {name:<32}  used {first}, tried again {again}",
            first=moment(row["used"]),
            again=moment(row["disputed"]),
        )
