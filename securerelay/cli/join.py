"""``securerelay join``: from an invitation to a profile."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import Any

import click

from securerelay.cli import passphrases
from securerelay.cli.keys import DEFAULT_SIZE, SIZES
from securerelay.cli.options import Common, Verb
from securerelay.cli.output import moment
from securerelay.cli.profiles import groups_option
from securerelay.errors import ConnectError, SecureRelayError, TimedOut
from securerelay.identity import profiles

LONGEST = 4096
"""Characters of an invitation, and of what may surround it."""


@click.command(cls=Verb)
@click.argument("invitation", envvar="SECURERELAY_INVITATION")
@click.option(
    "--key-bits",
    type=click.Choice(SIZES),
    default=DEFAULT_SIZE,
    show_default=True,
    help="Size of the RSA key to make.",
)
@click.option(
    "--key",
    "key_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Use this key, made with `securerelay keys generate`, instead of making one.",
)
@click.option("--passphrase", is_flag=True, help="Ask for a passphrase to protect the key with.")
@click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    envvar="SECURERELAY_PASSPHRASE_FILE",
    metavar="FILE",
    help="Holds the passphrase to protect the key with.",
)
@groups_option
@click.pass_obj
def command(
    common: Common,
    invitation: str,
    key_bits: str,
    key_file: Path | None,
    passphrase: bool,
    passphrase_file: Path | None,
    groups: tuple[str, ...] | None,
) -> None:
    """Accept INVITATION: make a key, have the relay certify it, and keep both in a profile.

    With - the invitation is read from the standard input, which keeps it out of the list of
    processes and out of the shell's history; SECURERELAY_INVITATION does as well.

    The profile is called as the invitation says, or as --profile says. If the connection breaks,
    join again with the same invitation.
    """
    from securerelay.cli.run import run
    from securerelay.crypto.groups import DEFAULT_GROUPS
    from securerelay.identity.invitation import Invitation
    from securerelay.identity.profile import Profile

    parsed = Invitation.parse(sys.stdin.read(LONGEST) if invitation == "-" else invitation)
    parsed.require_current(time.time())
    folder = profiles.folder_of(common.profile or parsed.name)
    waiting = (folder / profiles.FILE).exists()
    secret = passphrases.given(passphrase_file)
    if secret is None and (passphrase or (waiting and Profile.open(folder).protected())):
        secret = passphrases.asked(common, "Passphrase for the key", confirm=not waiting)
    key = None
    if key_file is not None:
        from securerelay.identity import keyfile

        if secret is None and keyfile.is_protected(key_file):
            secret = passphrases.asked(common, f"Passphrase of {key_file}, and of the profile")
        key = keyfile.load_key(key_file, secret)

    async def work(reactor: Any) -> Profile:
        from securerelay.client import enrol

        return await enrol(
            parsed,
            folder,
            key=key,
            bits=int(key_bits),
            passphrase=secret,
            groups=groups or DEFAULT_GROUPS,
            reactor=reactor,
        )

    try:
        profile = run(work)
    except (ConnectError, TimedOut):
        raise  # perhaps only the answer was lost: the next try needs the same key
    except SecureRelayError:
        if not waiting:
            _forget(folder)
        raise
    expires = int(profile.peer.not_after.timestamp() * 1000)
    common.out.say(
        {
            "name": profile.name,
            "relay": profile.relay_name,
            "relay_id": profile.relay_id.hex(),
            "profile": str(profile.path),
            "expires": expires,
        },
        "you are {name}; your profile is {profile}, its certificate good until {until}",
        until=moment(expires),
    )


def _forget(folder: Path) -> None:
    """Undo the making of a profile that the relay will never certify."""
    for name in (profiles.FILE, "key.pem", "lock"):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # there is something else in it
        folder.rmdir()
