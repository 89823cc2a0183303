"""``securerelay config check``: whether a relay could start with a configuration."""

from __future__ import annotations

from pathlib import Path

import click

from securerelay.cli.options import Common, Family, Verb

USUAL = Path("/etc/securerelay/securerelay.toml")


@click.group(cls=Family)
def command() -> None:
    """Check a relay's configuration."""


@command.command(cls=Verb)
@click.argument("file", type=click.Path(path_type=Path), default=USUAL)
@click.pass_obj
def check(common: Common, file: Path) -> None:
    """Read FILE as a relay would, and say what is wrong with it.

    FILE is /etc/securerelay/securerelay.toml unless given. A relay that gets SIGHUP keeps its old
    configuration when the new one is wrong; this tells beforehand.
    """
    from securerelay.relay.config import load

    load(file)
    common.out.say({"file": str(file), "ok": True}, "{file} is a good configuration")
