"""``securerelay profile``: a profile as one encrypted file, to keep or to move."""

from __future__ import annotations

from pathlib import Path

import click

from securerelay.cli import passphrases
from securerelay.cli.options import Common, Family, Verb
from securerelay.identity import profiles

passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Holds the passphrase of the exported file; without it, it is asked for.",
)


@click.group(cls=Family)
def command() -> None:
    """Back a profile up, and move it to another machine."""


@command.command("export", cls=Verb)
@click.argument("file", type=click.Path(path_type=Path))
@passphrase_option
@click.pass_obj
def export(common: Common, file: Path, passphrase_file: Path | None) -> None:
    """Write the profile to FILE, encrypted under a passphrase of its own; FILE must not exist.

    It holds the certificate and the keys that make you the peer, contacts with what you verified,
    what the outbox has left to send, and the account of what came. It leaves out the keys that
    opened earlier messages, and what was sent, so that nobody who finds it reads those. A key that
    is under a passphrase stays under it as well.
    """
    from securerelay.client import copies

    folder = profiles.find(common.profile)
    secret = _secret(common, passphrase_file, "Passphrase for the exported file", confirm=True)
    copies.export(folder, file, secret)
    common.out.say(
        {"file": str(file), "profile": str(folder)},
        "{profile} is in {file}; to use it: securerelay profile import {file}",
    )


@command.command("import", cls=Verb)
@click.argument("file", type=click.Path(path_type=Path))
@passphrase_option
@click.pass_obj
def import_(common: Common, file: Path, passphrase_file: Path | None) -> None:
    """Make the profile that is in FILE, called as it was or as --profile says.

    A profile is for one machine: use the copy in the place of the old one. With its next connection
    it makes new keys and tells the relay and every contact of them; the old one, if it is used on,
    says that there is another. Messages on their way to keys that only the old one has are asked
    for again.
    """
    from securerelay.client import copies

    secret = _secret(common, passphrase_file, f"Passphrase of {file}", confirm=False)
    values = copies.read(file, secret)
    folder = profiles.folder_of(common.profile or copies.name_in(values))
    made = copies.restore(values, folder)
    out = common.out
    out.say(
        {"name": made.name, "relay_id": made.relay_id.hex(), "profile": str(folder)},
        "you are {name}; your profile is {profile}",
    )
    if not out.json:
        out.note(
            "with the next connection it makes new keys, and the relay and your contacts hear of "
            "them; do not use the old profile beside it"
        )


def _secret(common: Common, file: Path | None, question: str, *, confirm: bool) -> bytes:
    from securerelay.identity import passphrase

    if file is not None:
        return passphrase.from_file(file)
    return passphrases.asked(common, question, confirm=confirm)
