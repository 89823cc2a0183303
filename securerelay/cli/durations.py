"""Lengths of time as people write them: ``90``, ``90s``, ``15m``, ``1h``, ``30d``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    _Base = click.ParamType[float]
else:
    _Base = click.ParamType  # generic since click 8.2 alone

_FORM = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)([smhd]?)", re.ASCII)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


class Duration(_Base):
    """An option that takes a length of time.

    Args:
        whole: whether it must be whole seconds.
    """

    name = "duration"

    def __init__(self, whole: bool = False) -> None:
        self._whole = whole

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return seconds."""
        match = _FORM.fullmatch(str(value))
        if match is None:
            self.fail(f"{value!a} is no time; write 90, 90s, 15m, 1h or 30d", param, ctx)
        seconds = float(match[1]) * _SECONDS[match[2]]
        if self._whole and not seconds.is_integer():
            self.fail(f"{value!a} is no whole number of seconds", param, ctx)
        return int(seconds) if self._whole else seconds
