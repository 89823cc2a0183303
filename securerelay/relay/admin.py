"""The administrator's door: a Unix socket in the data folder, one JSON object a line each way.

Whoever may open the socket is the administrator; its mode is 0600 from the moment it exists. A
request is ``{"verb": "invite", "name": "alice"}``, its answer ``{"ok": true, ...}`` or ``{"ok":
false, "code": ..., "message": ...}``. What the verbs do is in :mod:`securerelay.relay.verbs`.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorUNIX
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from securerelay.errors import LocalError, RemoteError, StorageError
from securerelay.relay.logging import EventLog

Verbs = Mapping[str, Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]]

SOCKET = "admin.sock"
MAX_PATH = 107
"""What ``sun_path`` of a Unix socket's address holds, in bytes, without the NUL at its end."""

MAX_REQUEST = 65_536


def socket_path(data: Path) -> Path:
    """Find the socket's place in a data folder.

    Raises:
        StorageError: if the path is longer than a Unix socket's may be.
    """
    path = data / SOCKET
    length = len(os.fsencode(path))
    if length > MAX_PATH:
        raise StorageError(
            f"the path of the data folder is too long: {path} has {length} bytes, "
            f"and a socket's path may have {MAX_PATH}"
        )
    return path


class AdminProtocol(LineOnlyReceiver):
    """One administrator's connection; requests are answered in their order."""

    delimiter = b"\n"
    MAX_LENGTH = MAX_REQUEST

    def __init__(self, verbs: Verbs, log: EventLog):
        self._verbs = verbs
        self._log = log
        self._turn = DeferredLock()

    def lineReceived(self, line: bytes) -> None:
        """Take one request."""
        self._turn.run(lambda: Deferred.fromCoroutine(self._answer(line)))

    async def _answer(self, line: bytes) -> None:
        answer = await self._answered(line)
        if self.connected:
            self.sendLine(json.dumps(answer).encode("ascii"))

    async def _answered(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            verb = request.pop("verb")
            act = self._verbs[verb]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            known = ", ".join(self._verbs)
            return _no("bad-request", f"a request is a JSON object with a verb of: {known}")
        try:
            return {"ok": True, **await act(request)}
        except LocalError as error:
            return _no("refused", error.message)
        except RemoteError as error:
            return _no(error.code, error.detail or error.code)
        except Exception:
            self._log.failure("admin.failed", Failure(), verb=verb)
            return _no("internal", "the relay met a fault of its own; its log has the details")


def _no(code: str, message: str) -> dict[str, Any]:
    return {"ok": False, "code": code, "message": message}


class AdminFactory(Factory):
    """Makes the administrator's connections.

    Args:
        verbs: from a verb to the coroutine that does it.
        log: where faults of the relay are told.
    """

    noisy = False

    def __init__(self, verbs: Verbs, log: EventLog):
        self._verbs = verbs
        self._log = log

    def buildProtocol(self, addr: object) -> AdminProtocol:
        """Make one connection."""
        return AdminProtocol(self._verbs, self._log)


def listen(reactor: IReactorUNIX, path: Path, factory: Factory) -> IListeningPort:
    """Open the socket.

    The data folder must be locked by this process: a socket that lies there is a dead process's.

    Args:
        reactor: what listens.
        path: from :func:`socket_path`.
        factory: makes the connections.

    Returns:
        The listening port.

    Raises:
        StorageError: if it cannot be opened, or something that is no socket has its name.
    """
    try:
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
    # listenUNIX sets the mode once the socket exists; the umask sees to the moment between.
    before = os.umask(0o177)
    try:
        return reactor.listenUNIX(str(path), factory, mode=0o600)
    except (CannotListenError, OSError) as error:
        reason = getattr(error, "socketError", error)
        raise StorageError(f"{path}: cannot be opened: {reason}") from error
    finally:
        os.umask(before)
