"""What is done before the relay runs: everything that can be found wrong is found here, in order.

The configuration is read, the ports are taken, and only then is the data folder opened or made, so
that a relay which cannot start leaves nothing behind. There are no threads yet: ``twistd`` may
still fork.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from securerelay import failpoints
from securerelay.errors import ConfigError, LocalError, StorageError
from securerelay.files import FolderLock
from securerelay.identity import passphrase
from securerelay.identity.relayfolder import RelayFolder
from securerelay.relay import admin
from securerelay.relay.config import Config, Passphrase
from securerelay.relay.listening import Listeners
from securerelay.relay.service import RelayService
from securerelay.relay.tls import OwnCertificate
from securerelay.store.sqlite import SqliteStore

CREDENTIAL = "ca-passphrase"
"""The systemd credential that is used when it is there and the configuration names no other
source.
"""


def prepare(
    reactor: Any, load: Callable[[], Config], wall: Callable[[], float] = time.time
) -> RelayService:
    """Make a relay that is ready to start.

    Args:
        reactor: what it will run in.
        load: reads the configuration, now and at every reload.
        wall: the time of day, Unix seconds.

    Returns:
        The relay, with its ports taken and its folder open.

    Raises:
        LocalError: one sentence about what is wrong; nothing was written.
    """
    config = load()
    admin.socket_path(config.data)
    secret = find_passphrase(config.passphrase)
    certificate = OwnCertificate()
    listeners = Listeners(reactor, config, certificate)
    listeners.take_ports()
    lock = FolderLock(config.data)
    folder = RelayFolder.open(
        config.data,
        secret,
        now=datetime.fromtimestamp(wall(), timezone.utc),
        name=config.name,
        days=config.certificates.relay_days,
        lock=lock,
    )

    def failed(error: StorageError) -> None:
        relay.on_failure(error)

    store = SqliteStore(
        folder.path,
        folder.wrap_key,
        reactor.callFromThread,
        lock=lock,
        failpoint=failpoints.reach,
        on_stop=failed,
    )
    relay = RelayService(reactor, config, load, folder, store, listeners, certificate, wall)
    return relay


def find_passphrase(sources: Passphrase) -> bytes | None:
    """Read the authority's passphrase from where the configuration says.

    Args:
        sources: at most one of them is set.

    Returns:
        The passphrase, or None if the key is to be unprotected.

    Raises:
        LocalError: if it is not where it should be.
    """
    if sources.file is not None:
        return passphrase.from_file(sources.file)
    if sources.environment is not None:
        secret = passphrase.from_environment(sources.environment)
        if secret is None:
            raise ConfigError(f"the environment variable {sources.environment} is not set")
        # What this process starts later, and whoever reads its environment there, need not know.
        os.environ.pop(sources.environment, None)
        return secret
    if sources.credential is not None:
        secret = passphrase.from_credential(sources.credential)
        if secret is None:
            raise LocalError(f"systemd handed over no credential {sources.credential}")
        return secret
    return passphrase.from_credential(CREDENTIAL)
