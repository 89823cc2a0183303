"""Where profiles are: one folder for each, under the user's configuration (XDG Base Directory)."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping

from securerelay import names
from securerelay.errors import BadName, ProfileError

VARIABLE = "SECURERELAY_PROFILE"
FILE = "profile.json"
"""What makes a folder a profile."""


def base_folder(environ: Mapping[str, str] = os.environ) -> pathlib.Path:
    """Return the folder that holds the user's profiles; it need not exist."""
    configured = environ.get("XDG_CONFIG_HOME", "")
    # A relative path there is to be ignored, says the specification.
    base = pathlib.Path(configured) if configured.startswith("/") else None
    return (base or pathlib.Path.home() / ".config") / "securerelay"


def folder_of(profile: str, environ: Mapping[str, str] = os.environ) -> pathlib.Path:
    """Return the folder of a profile, which need not exist.

    Args:
        profile: a name, or a path, which holds a slash.
        environ: tells where profiles are.

    Raises:
        ProfileError: if it is neither.
    """
    if "/" in profile:
        return pathlib.Path(profile).expanduser()
    try:
        return base_folder(environ) / names.check_peer(profile)
    except BadName:
        raise ProfileError(
            f"{profile!a} is neither the name of a profile nor a path with a slash"
        ) from None


def listed(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the names of the user's profiles, sorted."""
    return sorted(path.parent.name for path in base_folder(environ).glob(f"*/{FILE}"))


def find(profile: str | None = None, environ: Mapping[str, str] = os.environ) -> pathlib.Path:
    """Return the folder of the profile to use.

    Args:
        profile: a name or a path; None for ``$SECURERELAY_PROFILE``, else the only profile.
        environ: tells where profiles are.

    Raises:
        ProfileError: if there is none, or none is named and there are several.
    """
    chosen = profile or environ.get(VARIABLE)
    if chosen:
        folder = folder_of(chosen, environ)
        if not (folder / FILE).exists():
            raise ProfileError(f"there is no profile in {folder}: securerelay join makes one")
        return folder
    found = listed(environ)
    if not found:
        raise ProfileError("you have no profile yet: join a relay with an invitation first")
    if len(found) > 1:
        raise ProfileError(f"say which profile to use, as with --profile: {', '.join(found)}")
    return base_folder(environ) / found[0]
