"""``securerelay audit``: how safe a relay is, as far as that shows from outside."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from securerelay.cli.exits import REACHED, UNREACHABLE, UNSAFE, WEAK, Failure
from securerelay.cli.options import Common, Verb
from securerelay.cli.output import plural
from securerelay.cli.profiles import Access

if TYPE_CHECKING:
    from securerelay.audit.run import Who

LONGEST = 4096
"""Characters of an invitation."""
STATUS = {"A": REACHED, "B": REACHED, "C": WEAK, "D": WEAK, "F": UNSAFE}


@click.command(cls=Verb)
@click.argument("address", metavar="HOST:PORT")
@click.option("--relay-id", metavar="HEX", help="The relay's id, as `securerelay status` shows it.")
@click.option(
    "--invitation",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE|-",
    help="An invitation, which holds the relay's id; it is not used up.",
)
@click.option("--slow", is_flag=True, help="Wait for the deadlines too, which takes 15 seconds.")
@click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    envvar="SECURERELAY_PASSPHRASE_FILE",
    metavar="FILE",
    help="Holds the passphrase of the profile's key, if it has one.",
)
@click.pass_obj
def command(
    common: Common,
    address: str,
    relay_id: str | None,
    invitation: Path | None,
    slow: bool,
    passphrase_file: Path | None,
) -> int:
    """Try what a relay offers, accepts and refuses, and grade it.

    No credentials are needed. Without the relay's id only little shows, which is as it should be;
    --relay-id, --invitation or --profile gives it. With --profile the relay is also looked at from
    inside, in three short sessions.

    It takes a minute: at most 30 connections, and no more failures than a relay bears with before
    it refuses the address. Grades go from A to F, and the worst one is the verdict. The status is 0
    for A and B, 10 for C and D, 11 for F, and 3 if not all could be looked at.
    """
    from securerelay.audit.caller import Caller, SocketWire
    from securerelay.audit.run import audit
    from securerelay.identity.invitation import parse_address

    try:
        host, port = parse_address(address)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    who = _who(common, relay_id, invitation, passphrase_file)
    out = common.out
    out.note(f"this takes a minute: {address} is asked no faster than relays bear with strangers")
    caller = Caller(lambda: SocketWire(host, port))
    verdict = audit(caller, who, slow=slow)
    for one in verdict.findings:
        record = {"check": one.check, "grade": one.grade, "reason": one.reason, "facts": one.facts}
        out.say(record, "{grade}  {check:<12}  {reason}")
    out.say(
        {
            "address": address,
            "verdict": verdict.grade,
            "connections": caller.count,
            "stopped": verdict.stopped or None,
        },
        "{verdict}  in all: {address}, {made}",
        made=plural(caller.count, "connection"),
    )
    if verdict.stopped:
        raise Failure("connect", f"not all could be looked at: {verdict.stopped}")
    return STATUS.get(verdict.grade, UNREACHABLE)


def _who(
    common: Common, relay_id: str | None, invitation: Path | None, passphrase_file: Path | None
) -> Who:
    """Find out what the caller knows of the relay."""
    from securerelay.audit.run import Who
    from securerelay.identity.invitation import Invitation

    known: bytes | None = None
    if relay_id is not None:
        try:
            known = bytes.fromhex(relay_id)
        except ValueError:
            known = b""
        if len(known) != 32:
            raise click.BadParameter("a relay id is 64 hexadecimal digits")
    if invitation is not None:
        text = sys.stdin.read(LONGEST) if str(invitation) == "-" else invitation.read_text()
        known = _same(known, Invitation.parse(text[:LONGEST]).relay_id)
    if not common.profile:
        return Who(known)
    access = Access(common, passphrase_file, None)
    profile = access.profile
    known = _same(known, profile.relay_id)
    if not profile.enrolled:
        return Who(known)
    return Who(known, profile.credential(access.passphrase), profile.peer)


def _same(known: bytes | None, other: bytes) -> bytes:
    if known not in (None, other):
        raise Failure("usage", "the id, the invitation and the profile are of different relays")
    return other
