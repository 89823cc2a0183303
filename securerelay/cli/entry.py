"""Where the command begins and ends: the table of verbs, and errors turned into exit statuses."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn, cast

import click

from securerelay import __version__
from securerelay.cli.exits import INTERRUPTED as CTRL_C
from securerelay.cli.exits import OTHER, REACHED, USAGE, code_of, sentence_of, status_of
from securerelay.cli.options import Common, common_options
from securerelay.cli.output import Output
from securerelay.errors import SecureRelayError

VERBS = {
    "init": "Make the data folder of a relay.",
    "invite": "Invite a newcomer to the relay on this machine.",
    "invitations": "List the invitations that are open.",
    "withdraw": "Take an invitation back.",
    "join": "Accept an invitation: make a key and enrol.",
    "send": "Send a message, or each line of the input.",
    "sent": "Show what became of messages that were sent.",
    "flush": "Send what is left in the outbox.",
    "listen": "Receive messages.",
    "chat": "Talk with a peer, line by line.",
    "who": "List the peers.",
    "room": "Make rooms, and be in them.",
    "contacts": "List whose keys are known, and how well.",
    "verify": "Compare keys with a contact.",
    "trust": "Accept a contact's new key.",
    "log": "Check the relay's record of all certificates.",
    "status": "Show the relay on this machine, and the profile.",
    "renew": "Renew the profile's certificate, if it is due.",
    "revoke": "Shut a peer out for good, at once.",
    "issued": "List the certificates that the relay issued.",
    "penalties": "List the addresses that the relay refuses for now.",
    "pardon": "Lift penalties.",
    "alarms": "List invitations that came with two keys.",
    "acknowledge": "Take an alarm off the list.",
    "backup": "Write a copy of all that the relay knows.",
    "restore": "Make a backup the database of a relay that lost its own.",
    "fsck": "Check a relay's database thoroughly.",
    "keys": "Make, show and protect private keys.",
    "profile": "Back a profile up, and move it to another machine.",
    "audit": "Grade a relay from outside.",
    "inspect": "Show how a sealed message is built, without opening it.",
    "config": "Check a relay's configuration.",
    "completion": "Print the shell's completion script.",
}
"""Every verb with its line in the overview; the verb is ``command`` in the module of its name."""


class Verbs(click.Group):
    """The verbs, each imported when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs' names, in the order in which a newcomer meets them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import a verb; None if there is none of this name."""
        if name not in VERBS:
            return None
        module = importlib.import_module(f"securerelay.cli.{name}")
        return cast(click.Command, module.command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the overview from the table, without importing a verb."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.command(
    cls=Verbs,
    params=common_options(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit status: 0 reached what was asked for, 1 anything without a number of its own, "
    "2 usage, 3 cannot connect, 4 authentication, 5 unknown peer, 6 offline, 7 timeout, 8 quota, "
    "9 keys not to be trusted, 10 and 11 what an audit found.",
)
@click.version_option(__version__, prog_name="securerelay")
def cli() -> None:
    """Talk to other peers through a relay, and look after the relay on this machine.

    Options come first from the command line, then from SECURERELAY_<VERB>_<OPTION> in the
    environment, then from client.toml in the profile's folder, then from
    /etc/securerelay/client.toml.
    """


def perform(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: what follows the program's name; None for the process's own.

    Returns:
        The exit status; see :mod:`securerelay.cli.exits`.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    common = Common()
    try:
        result = cli.main(
            given,
            prog_name="securerelay",
            standalone_mode=False,
            auto_envvar_prefix="SECURERELAY",
            obj=common,
        )
        return result if isinstance(result, int) else REACHED
    except click.Abort:
        return CTRL_C
    except click.UsageError as error:
        if _wants_json(common, given):
            Output(json=True).fail("usage", error.format_message())
        else:
            error.show()
        return USAGE
    except click.ClickException as error:
        Output(_wants_json(common, given)).fail("error", error.format_message())
        return OTHER
    except (SecureRelayError, OSError) as error:
        status = status_of(error)
        if status <= 128:
            Output(_wants_json(common, given)).fail(code_of(error), sentence_of(error))
        return status


def _wants_json(common: Common, given: Sequence[str]) -> bool:
    """Tell how to report an error that may have struck before the options were read."""
    options = given[: given.index("--")] if "--" in given else given
    return bool(common.json) or "--json" in options


def main() -> NoReturn:
    """Run the command and leave with its exit status."""
    for stream in (sys.stdout, sys.stderr):
        # What the terminal cannot show is escaped; it must not end a verb with a traceback.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    status = perform()
    try:
        sys.stdout.flush()
    except OSError:
        # The interpreter would flush once more on its way out, and complain about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)
