"""What every verb understands: ``--json``, ``--profile``; the administrator's also ``--data``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from securerelay.cli import settings
from securerelay.cli.output import Output


@dataclass
class Common:
    """What the options that every verb has were set to.

    Attributes:
        json: whether output is JSON; None until somebody says.
        profile: the profile's name or folder; None for the only one there is.
        data: the relay's data folder; None for the usual place.
    """

    json: bool | None = None
    profile: str | None = None
    data: str | None = None

    @property
    def out(self) -> Output:
        """Where to write."""
        return Output(bool(self.json))

    def data_folder(self) -> Path:
        """Return the data folder of the relay on this machine, whether or not it exists."""
        from securerelay.relay.config import default_data_folder

        return Path(self.data).expanduser() if self.data else default_data_folder()


def _keep(context: click.Context, option: click.Parameter, value: Any) -> None:
    """Note an option that may stand before or behind the verb."""
    if value is not None:
        setattr(context.find_object(Common), str(option.name), value)


def _keep_profile(context: click.Context, option: click.Parameter, value: Any) -> None:
    """Note the profile, and look up what its settings say of the options that follow."""
    _keep(context, option, value)
    common = context.find_object(Common)
    if common is not None and isinstance(context.command, Verb):
        settings.apply(context, common)


def common_options(data: bool = True) -> list[click.Parameter]:
    """Make the options that every verb has.

    Args:
        data: whether ``--data`` is among them.

    Returns:
        Fresh options; they store themselves in the context's :class:`Common`.
    """
    options: list[click.Parameter] = [
        click.Option(
            ["--json"],
            is_flag=True,
            default=None,
            help="Write one JSON object a line, errors too.",
            expose_value=False,
            is_eager=True,
            callback=_keep,
        ),
    ]
    if data:
        options.append(
            click.Option(
                ["--data"],
                metavar="FOLDER",
                help="The data folder of the relay on this machine.",
                expose_value=False,
                is_eager=True,
                callback=_keep,
            )
        )
    options.append(
        click.Option(
            ["--profile"],
            metavar="NAME|FOLDER",
            help="Who to be; not needed when there is one profile.",
            expose_value=False,
            is_eager=True,
            callback=_keep_profile,
        )
    )
    return options


class Family(click.Group):
    """A verb that has verbs of its own; the overview shows the first sentence of each whole."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the overview."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, verb.get_short_help_str(1000))
                    for name, verb in sorted(self.commands.items())
                ]
            )


class Verb(click.Command):
    """A verb: a click command that has the common options, and defaults from the settings files.

    Args:
        args: as for :class:`click.Command`.
        data: whether the verb is about the relay on this machine, and so has ``--data``.
        kwargs: as for :class:`click.Command`.
    """

    def __init__(self, *args: Any, data: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += common_options(data)
