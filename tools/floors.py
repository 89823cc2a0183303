"""Print the lowest version of each dependency that setup.cfg allows, as constraints for pip."""

from __future__ import annotations

import configparser
import pathlib
import re

SETUP_CFG = pathlib.Path(__file__).parent.parent / "setup.cfg"
REQUIREMENT = re.compile(
    r"(?P<name>[a-z0-9-]+)(\[[a-z,]+\])? >= (?P<floor>[0-9.]+)(; (?P<when>.+))?"
)


def floors() -> list[str]:
    """The run-time dependencies, each held at its lower bound.

    Returns:
        Lines for ``pip install --constraint``, such as ``click == 8.1``.

    Raises:
        ValueError: a requirement has no lower bound.
    """
    config = configparser.ConfigParser()
    config.read(SETUP_CFG, encoding="utf-8")
    lines = []
    for requirement in config["options"]["install_requires"].strip().splitlines():
        match = REQUIREMENT.fullmatch(requirement)
        if match is None:
            raise ValueError(f"setup.cfg: no lower bound in {requirement!r}")
        condition = f"; {match['when']}" if match["when"] else ""
        lines.append(f"{match['name']} == {match['floor']}{condition}")
    return lines


if __name__ == "__main__":
    print("\n".join(floors()))
