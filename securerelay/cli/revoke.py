"""``securerelay revoke``: shut a peer out."""

from __future__ import annotations

import click

from securerelay.cli.admin import ask
from securerelay.cli.options import Common, Verb
from securerelay.names import check_peer


@click.command(cls=Verb, data=True)
@click.argument("name")
@click.pass_obj
def command(common: Common, name: str) -> None:
    """Shut the peer NAME out.

    Its sessions end at once, and its name is never given to anybody again.
    """
    check_peer(name)
    answer = ask(common.data_folder(), "revoke", name=name)
    common.out.say(
        {"name": name, "revoked": True, "sessions": answer.get("sessions", 0)},
        "{name} is revoked; sessions cut: {sessions}",
    )
