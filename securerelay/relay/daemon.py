"""The process around a relay: signals, systemd, the log's form, and how it ends.

:class:`~securerelay.relay.service.RelayService` knows nothing of processes and can live inside
another program; this is the part that ``twistd`` runs.
"""

from __future__ import annotations

import contextlib
import gc
import resource
import signal
from collections.abc import Callable, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ReactorNotRunning
from twisted.internet.task import LoopingCall
from twisted.logger import ILogObserver
from twisted.python.components import Componentized
from twisted.python.failure import Failure

from securerelay.errors import LocalError
from securerelay.relay.config import Config
from securerelay.relay.logging import LineObserver
from securerelay.relay.notify import Notifier
from securerelay.relay.service import RelayService


def note_hang_ups() -> list[int]:
    """Note SIGHUP from now on, which would end the process, until a daemon obeys it.

    Returns:
        What came; it goes on growing.
    """
    noted: list[int] = []
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda number, _: noted.append(number))
    return noted


class Daemon(Service):
    """Runs one relay as a process.

    Args:
        reactor: the reactor that the process runs.
        relay: the relay; its ports are taken and its folder is open.
        observer: writes the log, or None to leave that to Twisted.
        fail: called when the relay cannot start, before the reactor stops; sees to the exit code.
        notifier: tells systemd.
        noted: what :func:`note_hang_ups` notes.
    """

    def __init__(
        self,
        reactor: Any,
        relay: RelayService,
        observer: LineObserver | None = None,
        fail: Callable[[], None] = lambda: None,
        notifier: Notifier | None = None,
        noted: Sequence[int] = (),
    ):
        self._reactor = reactor
        self.relay = relay
        self._observer = observer
        self._fail = fail
        self._noted = noted
        self._notifier = Notifier() if notifier is None else notifier
        self._watchdog = LoopingCall(self._notifier.alive)
        self._watchdog.clock = reactor
        self._starting: Deferred[None] = succeed(None)
        relay.on_config = self._configured
        relay.on_failure = self._give_up

    def setServiceParent(self, parent: Any) -> None:
        """Join an application, and give it the relay's way of writing a log if it has none."""
        if self._observer is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._observer)
        super().setServiceParent(parent)

    def startService(self) -> None:
        """Take SIGHUP from now on, and start once the reactor runs."""
        super().startService()
        _set_process_limits()
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self.hang_up))
        self._reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        if not self.running:
            return
        self._configured(self.relay.config)
        self._starting = Deferred.fromCoroutine(self._start()).addErrback(self._failed)

    async def _start(self) -> None:
        await self.relay.start()
        # What is alive now lives until the end; the garbage collector need not look at it again.
        gc.collect()
        gc.freeze()
        self._notifier.ready()
        if self._notifier.interval is not None:
            self._watchdog.start(self._notifier.interval)
        if self._noted:
            self.hang_up()

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        if isinstance(failure.value, LocalError):
            self._give_up(failure.value)
        else:
            self.relay.log.failure("relay.failed", failure)
            self._end()

    def _give_up(self, error: LocalError) -> None:
        self.relay.log.error("relay.failed", reason=error.message)
        self._end()

    def _end(self) -> None:
        self._fail()
        with contextlib.suppress(ReactorNotRunning):
            self._reactor.stop()

    def hang_up(self) -> None:
        """Read the configuration again, as SIGHUP asks; a wrong one is told and changes nothing."""
        self._notifier.reloading()
        try:
            self.relay.reload()
        except LocalError as error:
            self.relay.log.error("config.refused", reason=error.message)
        finally:
            self._notifier.ready()

    def _configured(self, config: Config) -> None:
        if self._observer is not None:
            self._observer.form = config.log.format

    def stopService(self) -> Deferred[None]:
        """Drain the sessions and close everything.

        Returns:
            Fires when that is done, within the configured time.
        """
        super().stopService()
        self._notifier.stopping()
        if self._watchdog.running:
            self._watchdog.stop()
        self._starting.cancel()
        return Deferred.fromCoroutine(self.relay.stop())


def _set_process_limits() -> None:
    """Allow as many connections as the system does, and keep secrets out of core dumps."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))
