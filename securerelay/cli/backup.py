"""``securerelay backup``: a copy of the relay's database, also while the relay works on it."""

from __future__ import annotations

from pathlib import Path

import click

from securerelay.cli.admin import LONG, ask, stopped
from securerelay.cli.exits import Failure
from securerelay.cli.options import Common, Verb


@click.command(cls=Verb, data=True)
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_obj
def command(common: Common, file: Path) -> None:
    """Write a copy of the relay's database to FILE, which must not exist yet.

    A relay that runs goes on, and writes the copy itself: FILE must be where it may write, and will
    belong to its user, with mode 0600. The copy holds peers, invitations, rooms and all messages
    that wait, but not the relay's keys: keep the key files of its data folder as well, elsewhere.
    "securerelay restore" makes use of it.
    """
    folder, path = common.data_folder().absolute(), file.absolute()
    try:
        size = ask(folder, "backup", patience=LONG, path=str(path))["size"]
    except Failure as failure:
        if failure.code != "connect":
            raise
        from securerelay.files import FolderLock
        from securerelay.store.copies import backup, require

        require(folder)
        with stopped(), FolderLock(folder):
            backup(folder, path)
        size = path.stat().st_size
    record = {"backup": str(path), "size": size, "data": str(folder)}
    common.out.say(record, "{backup} holds what the relay in {data} knew just now: {size} bytes")
