"""Where passphrases come from: a file, the environment, a systemd credential, or a terminal.

Never from the command line, which every user of the machine can read.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Mapping

from securerelay import files
from securerelay.errors import LocalError

Prompt = Callable[[str], str]
"""Asks a person, without an echo: the question in, the answer out."""


def from_file(path: pathlib.Path) -> bytes:
    """Read a passphrase from a file that nobody else may read.

    Args:
        path: the file; one line feed at its end is not part of the passphrase.

    Raises:
        LocalError: if it cannot be read, is open to others, or is empty.
    """
    return _checked(_without_newline(files.read_private(path)), str(path))


def from_environment(variable: str, environ: Mapping[str, str] = os.environ) -> bytes | None:
    """Read a passphrase from an environment variable.

    Returns:
        The passphrase, or None if the variable is not set.

    Raises:
        LocalError: if it is set and empty.
    """
    value = environ.get(variable)
    if value is None:
        return None
    return _checked(_without_newline(os.fsencode(value)), f"${variable}")


def from_credential(name: str, environ: Mapping[str, str] = os.environ) -> bytes | None:
    """Read a passphrase that systemd hands over (``LoadCredential=``; systemd.exec(5)).

    Args:
        name: the credential's.
        environ: tells the folder of the credentials.

    Returns:
        The passphrase, or None if there is no such credential.

    Raises:
        LocalError: if it cannot be read or is empty.
    """
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return None
    path = pathlib.Path(folder, name)
    # systemd looks after this folder, so the file's mode is its own affair.
    try:
        with path.open("rb") as file:
            value = file.read(files.LARGEST)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LocalError(f"cannot read the credential {path}: {error.strerror}") from None
    return _checked(_without_newline(value), f"the credential {name}")


def ask(prompt: Prompt, question: str, *, confirm: bool = False) -> bytes:
    """Ask for a passphrase.

    Args:
        prompt: asks without an echo.
        question: what to ask.
        confirm: whether it is a new passphrase, to be typed twice.

    Raises:
        LocalError: if it is empty, or the two differ.
    """
    first = prompt(question)
    if confirm and prompt(f"{question} (again)") != first:
        raise LocalError("the two passphrases differ")
    return _checked(os.fsencode(first), "what was typed")


def _without_newline(value: bytes) -> bytes:
    return value[:-2] if value.endswith(b"\r\n") else value.removesuffix(b"\n")


def _checked(value: bytes, source: str) -> bytes:
    if not value:
        raise LocalError(f"the passphrase is empty ({source})")
    return value
