"""A profile as one encrypted file, to keep or to move to another machine.

The file holds the profile's own files as they are, keys under their passphrases too, and a copy of
its database without the keys that open what was sent earlier: whoever gets hold of the file and its
passphrase can be the peer from then on, but reads nothing of the past.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator

from securerelay import files
from securerelay.client import state, statefile
from securerelay.client.rows import QUEUED
from securerelay.client.sealing.own import PUBLISHED
from securerelay.errors import LocalError, ProfileError, RemoteError, StorageError
from securerelay.identity import container, profile, profilefile, profiles, switching
from securerelay.identity.profile import Profile
from securerelay.protocol.items import Field, Form

WHAT = "PROFILE"
LARGEST = 256 << 20
"""Bytes of a file that is read, and more than is ever written."""

_VERSION = b"\x01"
_STATE = 0x40
_LARGEST_STATE = 128 << 20
_SETTINGS = "client.toml"  # the command line's
_PROFILE = 0x02
_FILES = {
    _PROFILE: profiles.FILE,
    0x03: profile.KEY,
    0x04: profile.SEALING,
    0x05: _SETTINGS,
    0x06: switching.SUCCESSIONS,
}
_OPTIONAL = {0x04, 0x05, 0x06}
_FORM = Form(
    {
        0x01: Field(1, 1),
        **{kind: Field(1, files.LARGEST, optional=kind in _OPTIONAL) for kind in _FILES},
        _STATE: Field(1, _LARGEST_STATE, optional=True),
    }
)
_LEFT_OUT = (
    "DELETE FROM prekey",
    "DELETE FROM room_key",
    # The key that these are under comes along, for what is still to be sent.
    f"UPDATE message SET body = NULL WHERE state != {QUEUED}",  # noqa: S608
)
# Without its prekeys the copy has to publish a new one, however fresh the last is.
_FORGOTTEN = f"DELETE FROM fact WHERE key = '{PUBLISHED}'"  # noqa: S608


def export(folder: pathlib.Path, target: pathlib.Path, passphrase: bytes) -> None:
    """Write a profile to an encrypted file; programs may use the profile meanwhile.

    Args:
        folder: the profile's.
        target: a file that does not exist; it appears when it is complete, for its owner alone.
        passphrase: what the file is under; not empty.

    Raises:
        ProfileError: if there is no profile that has joined its relay.
        LocalError: if the file exists or cannot be written, or the outbox is too large for one.
    """
    if target.exists():
        raise LocalError(f"{target} exists already, and is left as it is")
    Profile.open(folder).peer  # noqa: B018  # raises for a profile that is not worth keeping
    values = {0x01: _VERSION}
    with files.locked(folder / profile.LOCK):
        for kind, name in _FILES.items():
            if kind not in _OPTIONAL or (folder / name).exists():
                values[kind] = files.read_private(folder / name)
    if (folder / state.NAME).exists():
        values[_STATE] = _state(folder)
    content = container.wrap(_FORM.write(values), passphrase, what=WHAT)
    files.write_private(target, content, replace=False)


def read(source: pathlib.Path, passphrase: bytes) -> dict[int, bytes]:
    """Open an encrypted file.

    Args:
        source: what :func:`export` wrote.
        passphrase: the same one.

    Returns:
        What :func:`restore` takes.

    Raises:
        WrongPassphrase: if it does not open.
        LocalError: if it is no such file.
    """
    try:
        with source.open("rb") as opened:
            data = opened.read(LARGEST + 1)
    except OSError as error:
        raise LocalError(f"cannot read {source}: {error.strerror}") from None
    if len(data) > LARGEST or not container.is_wrapped(data, WHAT):
        raise LocalError(f"{source} is no profile that was exported")
    try:
        values = _FORM.read(container.unwrap(data, passphrase, WHAT)).values
    except RemoteError as error:
        raise LocalError(f"{source} cannot be used: {error.detail}") from None
    if values.pop(0x01) != _VERSION:
        raise LocalError(f"{source} was written by a newer version of SecureRelay: update this one")
    return values


def name_in(values: dict[int, bytes]) -> str:
    """Return the name of the peer whose profile was exported.

    Raises:
        ProfileError: if the content is no profile.
    """
    return profilefile.parse(values[_PROFILE], "the exported profile").name


def restore(values: dict[int, bytes], folder: pathlib.Path) -> Profile:
    """Make a profile of what was exported: all of it, or nothing.

    Args:
        values: from :func:`read`.
        folder: where; it does not exist, or is empty.

    Returns:
        The profile.

    Raises:
        ProfileError: if there is something in the folder, or the content is no profile.
        LocalError: if it cannot be written.
    """
    files.make_private_folder(folder.parent)
    with _workshop(folder.parent, folder.name) as made:
        for kind, name in _FILES.items():
            if kind in values:
                files.write_private(made / name, values[kind])
        if _STATE in values:
            files.write_private(made / state.NAME, values[_STATE])
            with contextlib.closing(statefile.open_file(made / state.NAME)) as db:
                db.execute("PRAGMA journal_mode = WAL")
        Profile.open(made).peer  # noqa: B018  # raises for what is no profile
        try:
            os.rename(made, folder)  # fails for a folder with something in it
        except OSError:
            raise ProfileError(
                f"there is something in {folder} already; choose another place with --profile"
            ) from None
        files.sync_folder(folder.parent)
    return Profile.open(folder)


def _state(folder: pathlib.Path) -> bytes:
    """Return a copy of the database, without what stays behind and without traces of it."""
    with _workshop(folder, "export") as room:
        path = room / state.NAME
        try:
            with (
                contextlib.closing(sqlite3.connect(":memory:")) as copy,
                contextlib.closing(statefile.open_file(folder / state.NAME)) as db,
            ):
                db.backup(copy)
                for statement in (*_LEFT_OUT, _FORGOTTEN):
                    copy.execute(statement)
                copy.commit()
                copy.execute("VACUUM INTO ?", (str(path),))
            if path.stat().st_size > _LARGEST_STATE:
                raise LocalError(
                    "the outbox is too large for one file; empty it first: securerelay flush"
                )
            return path.read_bytes()
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"cannot copy {folder / state.NAME}: {error}") from None


@contextlib.contextmanager
def _workshop(parent: pathlib.Path, name: str) -> Iterator[pathlib.Path]:
    """Make a private folder for something that is not complete yet; what is left of it goes."""
    made = pathlib.Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=".tmp", dir=parent))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
