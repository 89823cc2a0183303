"""Defaults for options: ``client.toml`` in the profile's folder, over that in ``/etc/securerelay``.

A file holds ``json``, ``profile`` and ``data`` at its top, and one table for each verb whose
options it sets::

    profile = "work"

    [send]
    wait = "delivered"
    timeout = 10

What the command line or the environment says comes first; click sees to that.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from securerelay.errors import ConfigError, ProfileError

if TYPE_CHECKING:
    from securerelay.cli.options import Common

SYSTEM = Path("/etc/securerelay/client.toml")
VARIABLE = "SECURERELAY_CLIENT_CONFIG"
"""Names another file than :data:`SYSTEM`."""
FILE_NAME = "client.toml"

_TOP = {
    **{"json": bool, "profile": str, "data": str},
    **{"groups": str, "passphrase_file": str, "plain_with": str, "read_receipts": bool},
}
_OF_MANY_VERBS = ("groups", "passphrase_file", "plain_with", "read_receipts")


def read(path: Path) -> dict[str, Any]:
    """Read a settings file.

    Args:
        path: the file.

    Returns:
        Its tables; none if there is no such file.

    Raises:
        ConfigError: if it cannot be read, or its top holds something unknown.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        values: dict[str, Any] = tomllib.loads(content.decode("utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    from securerelay.cli.entry import VERBS

    for key, value in values.items():
        if key in VERBS and key not in _TOP:
            if not isinstance(value, dict):
                raise ConfigError(f"{path}: {key} is a verb, so it must be a table: [{key}]")
        elif key not in _TOP:
            allowed = ", ".join(_TOP)
            raise ConfigError(
                f"{path}: unknown key {key!a}; allowed are {allowed} and tables named as verbs"
            )
        elif not isinstance(value, _TOP[key]):
            raise ConfigError(
                f"{path}: {key} must be a {'boolean' if _TOP[key] is bool else 'string'}"
            )
    return values


def apply(context: click.Context, common: Common) -> None:
    """Fill in from the files what neither the command line nor the environment said.

    Args:
        context: the verb's; its ``default_map`` is set.
        common: the common options; those still None are set.

    Raises:
        ConfigError: if a file cannot be used.
    """
    files = [Path(os.environ.get(VARIABLE) or SYSTEM)]
    system = read(files[0])
    common.profile = common.profile or system.get("profile")
    own: dict[str, Any] = {}
    folder = _profile_folder(common.profile)
    if folder is not None:
        files.append(folder / FILE_NAME)
        own = read(files[1])
    if common.json is None:
        common.json = own.get("json", system.get("json"))
    common.data = common.data or own.get("data", system.get("data"))
    context.default_map = {
        **_table(context, files[0], system),
        **(_table(context, files[1], own) if own else {}),
    }


def _profile_folder(profile: str | None) -> Path | None:
    from securerelay.identity import profiles

    try:
        return profiles.find(profile)
    except ProfileError:
        return None  # a verb that needs one will say so


def _table(context: click.Context, path: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Pick and check what is for one verb: the table ``[send]``, or ``[keys.generate]``."""
    names = context.command_path.split()[1:]
    if names[0] in _TOP:
        return {}  # ``profile`` says who to be, so it cannot be a verb's table
    of_many = {key: values[key] for key in _OF_MANY_VERBS if key in values}
    for name in names:
        values = values.get(name, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: {'.'.join(names)} must be a table")
    options = {
        option.name: option
        for option in context.command.params
        if isinstance(option, click.Option) and option.expose_value
    }
    values = {**{key: of_many[key] for key in of_many if key in options}, **values}
    for key, value in values.items():
        where = f"{path}: [{'.'.join(names)}] {key}"
        if key not in options:
            allowed = ", ".join(sorted(str(name) for name in options))
            raise ConfigError(f"{where}: unknown; allowed are {allowed}")
        try:
            options[key].type_cast_value(context, value)
        except click.BadParameter as error:
            raise ConfigError(f"{where}: {error.message}") from None
    return values
