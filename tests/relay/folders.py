"""A relay's data folder that is made once and copied for each test that needs one."""

from __future__ import annotations

import atexit
import datetime
import functools
import shutil
import tempfile
from pathlib import Path

from securerelay.identity.relayfolder import RelayFolder
from tests import keys


@functools.cache
def _made() -> Path:
    parent = tempfile.mkdtemp(prefix="securerelay-tests-")
    atexit.register(shutil.rmtree, parent, ignore_errors=True)
    path = Path(parent) / "data"
    now = datetime.datetime.now(datetime.timezone.utc)
    RelayFolder.open(path, now=now, make_key=lambda bits: keys.rsa_key(2048, bits))
    return path


def copy_folder(target: Path) -> Path:
    """Put a complete data folder, with small keys, where nothing is yet.

    Args:
        target: the folder to make.

    Returns:
        The same.
    """
    shutil.copytree(_made(), target)
    return target
