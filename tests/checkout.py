"""A copy of what a clone would hold, so that building leaves nothing behind in the checkout."""

from __future__ import annotations

import pathlib
import shutil

ROOT = pathlib.Path(__file__).parent.parent
METADATA = ("setup.cfg", "setup.py", "pyproject.toml", "README.rst", "LICENSE")


def copy_sources(target: pathlib.Path) -> pathlib.Path:
    """Copy the metadata and the packages.

    Args:
        target: the folder to make.

    Returns:
        The same folder.
    """
    target.mkdir(parents=True)
    for name in METADATA:
        shutil.copy(ROOT / name, target)
    for folder in ("securerelay", "twisted"):
        leave_out = shutil.ignore_patterns("__pycache__", "dropin.cache")
        shutil.copytree(ROOT / folder, target / folder, ignore=leave_out)
    return target
