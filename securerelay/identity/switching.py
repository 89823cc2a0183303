"""How a profile comes to its next key: all files of it at once, whenever the machine stops.

What belongs to the next key is written into a folder of its own.  When it is complete, and has its
certificate, the folder gets another name, and that is the moment: from then on whoever opens the
profile first moves the files to where they belong.  They are whole already, so no passphrase is
needed for that, and it may be broken off and done again.
"""

from __future__ import annotations

import os
import pathlib

from securerelay import files
from securerelay.errors import LocalError

NEXT = "next"
"""The folder in which a key waits for its certificate."""
SWITCH = "switch"
"""Its name from the moment on."""
PUBLIC = "public"
"""The key's SubjectPublicKeyInfo in DER, written last, while it waits."""
SUCCESSIONS = "successions"
"""Where the profile's former keys each say who follows, oldest first (SR1 section 7)."""


def waiting(path: pathlib.Path) -> bytes | None:
    """Return the public half of the key that waits in a profile; None if there is none.

    Args:
        path: the profile's folder.
    """
    public = path / NEXT / PUBLIC
    return files.read_private(public) if public.exists() else None


def successions(path: pathlib.Path) -> bytes:
    """Return what a profile's former keys said, one after the other."""
    told = path / SUCCESSIONS
    return files.read_private(told) if told.exists() else b""


def begin(path: pathlib.Path) -> None:
    """Give the folder its other name; the profile's lock is held, and :func:`settle` comes next.

    Raises:
        LocalError: if that cannot be.
    """
    try:
        os.rename(path / NEXT, path / SWITCH)
        files.sync_folder(path)
    except OSError as error:
        raise LocalError(f"cannot rename {path / NEXT}: {error.strerror}") from None


def settle(path: pathlib.Path) -> None:
    """Move the files to where they belong, if there are any; the profile's lock is held.

    Raises:
        LocalError: if that cannot be; it goes on when it is called again.
    """
    folder = path / SWITCH
    if not folder.exists():
        return
    try:
        for file in sorted(folder.iterdir()):
            if file.name == PUBLIC:
                file.unlink()
            else:
                os.replace(file, path / file.name)
        files.sync_folder(path)
        folder.rmdir()
        files.sync_folder(path)
    except OSError as error:
        raise LocalError(f"cannot put the files in {folder} in place: {error.strerror}") from None
