"""``securerelay log``: the relay's record of all certificates, held to its word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from securerelay.cli.exits import Failure
from securerelay.cli.options import Common, Family, Verb
from securerelay.cli.output import Output, moment
from securerelay.cli.profiles import Access, access_options

if TYPE_CHECKING:
    from securerelay.client import Client


@click.group(cls=Family)
def command() -> None:
    """Check the relay's key log, its record of all certificates."""


@command.command(cls=Verb)
@access_options
@click.pass_obj
def verify(common: Common, access: Access) -> None:
    """Check that the relay's key log only grew, has your certificate, and no other one of yours.

    The log has an entry for each certificate that the relay issued or revoked. Clients look at it
    whenever they connect, and hold it against what contacts see; this does all of it at once and
    says what was found. Status 9 is an alarm: somebody else has a certificate in your name, or the
    relay shows different logs to different people.
    """

    async def work(reactor: Any, client: Client) -> None:
        await check(client, common.out)

    access.run(work)


async def check(client: Client, out: Output) -> None:
    """Look at the log, and say what was found.

    Raises:
        Failure: for an alarm.
    """
    from securerelay.sealing.verdicts import Rejected

    assert client.sealing is not None, "commands keep a profile"
    log = client.sealing.log
    try:
        report = await log.look()
        own = await log.find_own(report.head)
    except Rejected as rejected:
        words = rejected.verdict.words(peer=client.peer)
        raise Failure(rejected.code, words) from None
    record = {
        "size": report.head.size,
        "root": report.head.root.hex(),
        "time": report.head.time,
        "read": report.read,
        "own": own,
        "hidden": report.hidden,
    }
    others = (
        "whether somebody else has one in your name is hidden by the relay's policy"
        if report.hidden
        else "nobody else has one in your name"
    )
    out.say(
        record,
        "the key log of {when} has {size} entries and continues all that was seen of it; "
        "your certificate is entry {own}; {others}",
        when=moment(report.head.time),
        others=others,
    )
