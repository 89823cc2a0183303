"""Where a verb gets the passphrase of a key: a file, the environment, a credential, or a person.

Never the command line, which every user of the machine can read.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from securerelay.cli.exits import Failure
from securerelay.cli.options import Common

VARIABLE = "SECURERELAY_PASSPHRASE"
CREDENTIAL = "securerelay-passphrase"


def given(file: Path | None) -> bytes | None:
    """Find a passphrase without asking.

    Args:
        file: from ``--passphrase-file`` or ``SECURERELAY_PASSPHRASE_FILE``; it comes first, then
            ``SECURERELAY_PASSPHRASE``, then the systemd credential ``securerelay-passphrase``.

    Returns:
        The passphrase, or None if none of them says anything.

    Raises:
        LocalError: if one cannot be read or is empty.
    """
    from securerelay.identity import passphrase

    if file is not None:
        return passphrase.from_file(file)
    return passphrase.from_environment(VARIABLE) or passphrase.from_credential(CREDENTIAL)


def asked(common: Common, question: str, *, confirm: bool = False) -> bytes:
    """Ask the person at the terminal; programs are never asked.

    Args:
        common: with ``--json`` nobody is asked.
        question: what to ask.
        confirm: whether it is a new passphrase, to be typed twice.

    Raises:
        Failure: ``wrong-passphrase`` if there is nobody to ask.
        LocalError: if what was typed cannot be used.
    """
    from securerelay.identity import passphrase

    if common.json or sys.stdin is None or not sys.stdin.isatty():
        raise Failure(
            "wrong-passphrase",
            "a passphrase is needed: say where it is with --passphrase-file",
        )

    def prompt(text: str) -> str:
        answer: str = click.prompt(text, default="", hide_input=True, show_default=False, err=True)
        return answer

    return passphrase.ask(prompt, question, confirm=confirm)
