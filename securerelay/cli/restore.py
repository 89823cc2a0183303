"""``securerelay restore``: a relay goes on from a backup, and nothing happens a second time."""

from __future__ import annotations

from pathlib import Path

import click

from securerelay.cli.admin import stopped
from securerelay.cli.exits import Failure
from securerelay.cli.options import Common, Verb
from securerelay.cli.output import moment, plural


@click.command(cls=Verb, data=True)
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_obj
def command(common: Common, file: Path) -> None:
    """Make FILE, from "securerelay backup", the database of the relay on this machine.

    The relay must not run, and its data folder must hold its key files and no database. What
    happened after the backup is not in it: peers that were revoked since may come back, and those
    that joined since are unknown. Nothing can happen a second time, though: open invitations are
    withdrawn, sessions cannot be resumed, and no number of a message is given again. That needs a
    clock that is right.
    """
    from securerelay.identity.relayfolder import SECRETS
    from securerelay.store.copies import restore

    folder = common.data_folder().absolute()
    missing = [name for name in SECRETS if not (folder / name).is_file()]
    if missing:
        raise Failure(
            "storage", f"there is no {missing[0]} in {folder}: put the key files back first"
        )
    with stopped():
        restored = restore(file, folder)
    common.out.say(
        {
            "data": str(folder),
            "backup": str(file.absolute()),
            "copied": restored.copied,
            "peers": restored.peers,
            "epoch": restored.epoch,
        },
        "{data} is as it was on {when}, with {known}\n"
        "revoke again whom you revoked since, and invite again who joined since or was invited",
        when=moment(restored.copied),
        known=plural(restored.peers, "peer"),
    )
