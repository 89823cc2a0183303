"""``securerelay status``: the relay on this machine, and the profile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from securerelay.cli.admin import ask
from securerelay.cli.exits import REACHED, UNREACHABLE, Failure
from securerelay.cli.options import Common, Verb
from securerelay.cli.output import Output, moment, shown
from securerelay.identity import profiles


@click.command(cls=Verb, data=True)
@click.pass_obj
def command(common: Common) -> int:
    """Show the relay on this machine, if there is one, and the profile, if there is one.

    The status is 3 if there is a relay's data folder here, and no relay runs on it.
    """
    out = common.out
    folder = common.data_folder()
    relay = _relay(folder) if common.data or folder.exists() else None
    profile = _profile(common)
    if relay is None and profile is None:
        raise Failure("nothing", f"there is no relay in {folder}, and no profile")
    if out.json:
        out.say({"relay": relay, "profile": profile}, "")
    else:
        for title, facts in (("relay", relay), ("profile", profile)):
            if facts is not None:
                _show(out, title, facts)
    return UNREACHABLE if relay is not None and not relay["running"] else REACHED


def _relay(folder: Path) -> dict[str, Any]:
    try:
        return {"folder": str(folder), "running": True, **ask(folder, "status")}
    except Failure as failure:
        if failure.code != "connect":
            raise
        return {"folder": str(folder), "running": False}


def _profile(common: Common) -> dict[str, Any] | None:
    if not common.profile and len(profiles.listed()) != 1:
        return None
    from securerelay.identity.profile import Profile

    profile = Profile.open(profiles.find(common.profile))
    enrolled = profile.enrolled
    return {
        "folder": str(profile.path),
        "name": profile.name,
        "relay": profile.relay_name,
        "relay_id": profile.relay_id.hex(),
        "addresses": [f"{host}:{port}" for host, port in profile.addresses],
        "enrolled": enrolled,
        "expires": int(profile.peer.not_after.timestamp() * 1000) if enrolled else None,
        "protected": profile.protected(),
    }


def _show(out: Output, title: str, facts: dict[str, Any]) -> None:
    out.say({}, f"{title}:")
    for key, value in facts.items():
        if key in ("expires", "started", "certificate_expires") and isinstance(value, int):
            value = moment(value)
        elif isinstance(value, dict):
            value = [f"{name} {shown(one)}" for name, one in value.items()] or None
        out.say({"key": key.replace("_", " "), "value": value}, "  {key}: {value}")
