"""``securerelay invite``: a newcomer's way in."""

from __future__ import annotations

import click

from securerelay.cli.admin import ask
from securerelay.cli.durations import Duration
from securerelay.cli.options import Common, Verb
from securerelay.cli.output import moment
from securerelay.cli.qr import Codes
from securerelay.names import check_new_peer


@click.command(cls=Verb, data=True)
@click.argument("name")
@click.option(
    "--expires",
    type=Duration(whole=True),
    metavar="TIME",
    help="How long it is good for.  [default: 24h]",
)
@click.option("--address", metavar="HOST:PORT", help="Where the newcomer reaches the relay.")
@click.option("--qr", is_flag=True, help="Show a code for cameras as well.")
@click.pass_obj
def command(common: Common, name: str, expires: int | None, address: str | None, qr: bool) -> None:
    """Invite a newcomer, who will be called NAME.

    The invitation is a secret that works once: whoever holds it becomes NAME. Hand it over on a way
    that nobody else reads.
    """
    check_new_peer(name)
    codes = Codes() if qr else None
    answer = ask(common.data_folder(), "invite", name=name, expires=expires, address=address)
    out = common.out
    if answer.get("note"):
        out.note(str(answer["note"]))
    out.say({key: answer[key] for key in ("name", "uri", "token", "expires")}, "{uri}")
    if codes is not None and not out.json:
        codes.show(str(answer["uri"]))
    if not out.json:
        out.note(
            f"good for one newcomer, until {moment(answer['expires'])}; there: securerelay join -"
        )
