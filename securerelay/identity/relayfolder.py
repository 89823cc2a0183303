"""The secrets in a relay's data folder: its authority, its own identity, and the key for tickets.

::

    ca.key ca.crt         the authority
    relay.key relay.crt   the relay, certified by the authority
    wrap.key              32 bytes that wrap secrets in the database

The folder also holds the database, its lock and the administrator's socket, which are others'
affair.  While a first start makes the secrets the file ``unfinished`` is there: a folder that still
has it was never used, so its secrets are made anew.  Any other folder is taken as it is or refused
untouched.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import pathlib
from collections.abc import Callable, Iterable
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric import rsa

from securerelay import files
from securerelay.crypto import primitives
from securerelay.errors import (
    CertificateError,
    FolderLocked,
    KeyFileError,
    LocalError,
    StorageError,
    WrongPassphrase,
)
from securerelay.identity import certificates, container, keyfile, pem
from securerelay.identity.authority import RELAY_DAYS, Authority
from securerelay.identity.certificates import RELAY

CA_KEY, CA_CERTIFICATE = "ca.key", "ca.crt"
RELAY_KEY, RELAY_CERTIFICATE = "relay.key", "relay.crt"
WRAP_KEY = "wrap.key"
SECRETS = (CA_KEY, CA_CERTIFICATE, RELAY_KEY, RELAY_CERTIFICATE, WRAP_KEY)
DATABASE = "relay.sqlite"
ADMIN_SOCKET = "admin.sock"
LOCK = files.LOCK
UNFINISHED = "unfinished"

# What a folder may hold and still be new to us; the second is a disk's own.
_NEUTRAL = frozenset((LOCK, "lost+found"))
_WRAP_SIZE = 32

T = TypeVar("T")


class RelayFolder:
    """A relay's secrets, in memory; :meth:`open` reads or makes them.

    Args:
        path: the folder.
        authority: the relay's.
        key: the relay's own.
        certificate: the relay's own, DER.
        wrap_key: 32 bytes, for the store.
        created: whether this is the first start.
        days: how long the relay's certificates live.
    """

    def __init__(
        self,
        path: pathlib.Path,
        authority: Authority,
        key: rsa.RSAPrivateKey,
        certificate: bytes,
        wrap_key: bytes,
        *,
        created: bool,
        days: int = RELAY_DAYS,
    ) -> None:
        self.path = path
        self.authority = authority
        self.key = key
        self.certificate = certificate
        self.wrap_key = wrap_key
        self.created = created
        self._days = days

    def __repr__(self) -> str:
        return f"<RelayFolder {self.path}>"

    @classmethod
    def open(
        cls,
        path: pathlib.Path,
        passphrase: bytes | None = None,
        *,
        now: datetime.datetime,
        create: bool = True,
        name: str = "relay",
        days: int = RELAY_DAYS,
        make_key: Callable[[int], rsa.RSAPrivateKey] = keyfile.generate_key,
        lock: files.FolderLock | None = None,
    ) -> RelayFolder:
        """Read a relay's secrets, or make them at its first start.

        The relay's certificate is renewed when it is due.  Keys that are plain are put under the
        passphrase when there is one.

        Args:
            path: the folder; made if it is missing.
            passphrase: protects the keys; None to keep them plain.
            now: the time, aware of its zone.
            create: whether a first start is meant.
            name: what the relay calls itself.
            days: how long the relay's certificates live, at most 90.
            make_key: makes an RSA key of so many bits.
            lock: of the folder, to be held from now on; None to hold one no longer than this takes.

        Raises:
            StorageError: if the folder is foreign, incomplete, damaged, another user's or not
                writable.
            FolderLocked: if a relay is running on it.
            WrongPassphrase: if the keys are under another passphrase.
            LocalError: if a file cannot be read or written.
        """
        fresh = _is_fresh(path)
        if fresh and not create:
            raise StorageError(f"there is no relay in {path}")
        made = files.make_private_folder(path)
        taken = files.FolderLock(path) if lock is None else lock
        try:
            taken.acquire()
            # Another one may have had its first start since we looked.
            fresh = _is_fresh(path)
            if fresh:
                _create(path, passphrase, now, name, days, make_key)
            folder = cls._load(path, passphrase, created=fresh, days=days)
            if path.stat().st_mode & 0o077:
                path.chmod(0o700)
            folder.renew(now, name)
        except BaseException:
            taken.release()
            if made:
                _discard(path)
            raise
        if lock is None:
            taken.release()
        return folder

    @classmethod
    def _load(
        cls, path: pathlib.Path, passphrase: bytes | None, *, created: bool, days: int
    ) -> RelayFolder:
        # All is read before anything is written, so that a refused folder stays as it is.
        ca_key = keyfile.load_key(path / CA_KEY, passphrase, ours=True)
        relay_key = keyfile.load_key(path / RELAY_KEY, passphrase, ours=True)
        wrap_key = _read_wrap_key(path / WRAP_KEY, passphrase)
        try:
            authority = Authority(ca_key, _read_certificate(path / CA_CERTIFICATE))
            certificate = _read_certificate(path / RELAY_CERTIFICATE)
            relay = certificates.check(authority.public_key, certificate, RELAY)
        except StorageError:
            raise
        except (CertificateError, LocalError) as error:
            raise StorageError(f"the secrets in {path} do not fit together: {error}") from None
        if relay.spki != primitives.spki(relay_key.public_key()):
            raise StorageError(f"{path / RELAY_CERTIFICATE} is not for the key in {RELAY_KEY}")
        if passphrase is not None:
            _protect(path, passphrase, ca_key, relay_key, wrap_key)
        return cls(path, authority, relay_key, certificate, wrap_key, created=created, days=days)

    @property
    def relay_id(self) -> bytes:
        """The relay's id, 32 bytes."""
        return self.authority.relay_id

    @property
    def identity(self) -> certificates.RelayIdentity:
        """What the relay's certificate says."""
        return certificates.check(self.authority.public_key, self.certificate, RELAY)

    @property
    def database(self) -> pathlib.Path:
        """The database's file."""
        return self.path / DATABASE

    @property
    def admin_socket(self) -> pathlib.Path:
        """The administrator's socket."""
        return self.path / ADMIN_SOCKET

    def renew(self, now: datetime.datetime, name: str | None = None) -> bool:
        """Renew the relay's certificate if two thirds of its life are over, or it has another name.

        Args:
            now: the time, aware of its zone.
            name: what the relay calls itself; None for the same as ever.

        Returns:
            Whether there is a new one, in :attr:`certificate` and on disk.
        """
        relay = self.identity
        name = name or relay.name
        # A certificate from the future is useless too, after a clock was set right.
        if relay.name == name and relay.not_before <= now < relay.renew_at:
            return False
        issued = self.authority.issue_relay(name, relay.spki, now, self._days)
        files.write_private(self.path / RELAY_CERTIFICATE, pem.write(issued.der))
        self.certificate = issued.der
        return True

    def issue_tls(
        self, hosts: Iterable[str], now: datetime.datetime, days: int = RELAY_DAYS
    ) -> tuple[bytes, bytes]:
        """Make a key and a certificate for TLS endpoints; they are not kept on disk.

        Args:
            hosts: the host names and IP addresses that clients use.
            now: the time, aware of its zone.
            days: how long the certificate lives.

        Returns:
            The key, and the certificate with the authority's after it, both PEM.
        """
        key = keyfile.generate_key()
        issued = self.authority.issue_tls(primitives.spki(key.public_key()), hosts, now, days)
        chain = pem.write(issued.der) + pem.write(self.authority.certificate)
        return keyfile.to_pem(key), chain


def change_passphrase(path: pathlib.Path, old: bytes | None, new: bytes | None) -> None:
    """Put a relay's keys under another passphrase, or under none.

    After a power cut in the middle of it, the same call completes the change.

    Args:
        path: the folder.
        old: the present passphrase.
        new: the next one; None to keep the keys plain.

    Raises:
        StorageError: if this is no relay's folder.
        FolderLocked: if a relay is running on it.
        WrongPassphrase: if the old one is wrong.
    """
    if _is_fresh(path):
        raise StorageError(f"there is no relay in {path}")
    with files.locked(path / LOCK, wait=False) as ours:
        if not ours:
            raise FolderLocked(f"a relay is running on {path}; stop it first")
        ca_key = _under_either(keyfile.load_key, path / CA_KEY, old, new)
        relay_key = _under_either(keyfile.load_key, path / RELAY_KEY, old, new)
        wrap_key = _under_either(_read_wrap_key, path / WRAP_KEY, old, new)
        keyfile.save_key(path / CA_KEY, ca_key, new)
        keyfile.save_key(path / RELAY_KEY, relay_key, new)
        _write_wrap_key(path / WRAP_KEY, wrap_key, new)


def _is_fresh(path: pathlib.Path) -> bool:
    """Tell a folder to be filled from a complete one, and refuse all others; changes nothing."""
    try:
        state = path.stat()
        found = {entry.name for entry in path.iterdir()}
    except FileNotFoundError:
        return True
    except NotADirectoryError:
        raise StorageError(f"{path} is no folder") from None
    except OSError as error:
        raise StorageError(f"cannot use {path}: {error.strerror}") from None
    if state.st_uid != os.geteuid():
        raise StorageError(f"{path} belongs to another user (uid {state.st_uid})")
    if not os.access(path, os.W_OK | os.X_OK):
        raise StorageError(f"cannot write in {path}: no permission")
    missing = [name for name in SECRETS if name not in found]
    if UNFINISHED in found and DATABASE not in found:
        return True
    if not missing:
        return False
    if len(missing) < len(SECRETS) or DATABASE in found:
        raise StorageError(
            f"the relay's folder {path} is incomplete: {missing[0]} is missing; "
            "put it back from a backup"
        )
    if found - _NEUTRAL:
        raise StorageError(
            f"{path} is not a relay's folder and not empty; give a folder of its own to the relay"
        )
    return True


def _create(
    path: pathlib.Path,
    passphrase: bytes | None,
    now: datetime.datetime,
    name: str,
    days: int,
    make_key: Callable[[int], rsa.RSAPrivateKey],
) -> None:
    """Make all the secrets, or none; whatever an interrupted first start left is not used."""
    try:
        (path / UNFINISHED).touch(0o600)
        files.sync_folder(path)
    except OSError as error:
        raise StorageError(f"cannot write in {path}: {error.strerror}") from None
    try:
        authority = Authority.from_key(make_key(4096), now)
        relay_key = make_key(keyfile.DEFAULT_SIZE)
        issued = authority.issue_relay(name, primitives.spki(relay_key.public_key()), now, days)
        keyfile.save_key(path / CA_KEY, authority.key, passphrase)
        files.write_private(path / CA_CERTIFICATE, pem.write(authority.certificate))
        keyfile.save_key(path / RELAY_KEY, relay_key, passphrase)
        files.write_private(path / RELAY_CERTIFICATE, issued.pem)
        _write_wrap_key(path / WRAP_KEY, primitives.random_bytes(_WRAP_SIZE), passphrase)
    except BaseException:
        _remove_unfinished(path)
        raise
    for left in path.glob(".*.tmp"):
        left.unlink()
    files.remove(path / UNFINISHED)


def _remove_unfinished(path: pathlib.Path) -> None:
    for name in (*SECRETS, UNFINISHED):
        with contextlib.suppress(OSError):
            (path / name).unlink(missing_ok=True)


def _discard(path: pathlib.Path) -> None:
    """Take away a folder that we made, and in which nothing of worth is left."""
    with contextlib.suppress(OSError):
        (path / LOCK).unlink(missing_ok=True)
        path.rmdir()


def _protect(
    path: pathlib.Path,
    passphrase: bytes,
    ca_key: rsa.RSAPrivateKey,
    relay_key: rsa.RSAPrivateKey,
    wrap_key: bytes,
) -> None:
    """Put under the passphrase what is still plain."""
    for name, key in ((CA_KEY, ca_key), (RELAY_KEY, relay_key)):
        if not keyfile.is_protected(path / name):
            keyfile.save_key(path / name, key, passphrase)
    if not container.is_wrapped(files.read_private(path / WRAP_KEY)):
        _write_wrap_key(path / WRAP_KEY, wrap_key, passphrase)


def _read_certificate(path: pathlib.Path) -> bytes:
    try:
        return pem.read(files.read_private(path))
    except LocalError as error:
        raise StorageError(f"{path}: {error.message}") from None


def _read_wrap_key(path: pathlib.Path, passphrase: bytes | None) -> bytes:
    data = files.read_private(path)
    if container.is_wrapped(data):
        if passphrase is None:
            raise WrongPassphrase(f"{path} is protected by a passphrase, and none was given")
        try:
            data = container.unwrap(data, passphrase)
        except KeyFileError as error:
            raise type(error)(f"{path}: {error.message}") from None
    if len(data) != _WRAP_SIZE:
        raise StorageError(f"{path} is damaged: it must hold {_WRAP_SIZE} bytes")
    return data


def _write_wrap_key(path: pathlib.Path, wrap_key: bytes, passphrase: bytes | None) -> None:
    files.write_private(
        path, wrap_key if passphrase is None else container.wrap(wrap_key, passphrase)
    )


def _under_either(
    load: Callable[[pathlib.Path, bytes | None], T],
    path: pathlib.Path,
    old: bytes | None,
    new: bytes | None,
) -> T:
    try:
        return load(path, old)
    except WrongPassphrase:
        with contextlib.suppress(WrongPassphrase):
            return load(path, new)
        raise
