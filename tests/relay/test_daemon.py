"""The process around a relay: systemd, reloading, and how a failure ends it."""

from __future__ import annotations

import gc
import io
import resource
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from twisted.application.service import Application, IServiceCollection
from twisted.internet.defer import Deferred, fail
from twisted.logger import ILogObserver

from securerelay.errors import ConfigError, StorageError
from securerelay.relay.config import Log
from securerelay.relay.daemon import Daemon, note_hang_ups
from securerelay.relay.logging import LineObserver
from securerelay.relay.notify import Notifier
from tests.relay.in_memory import Relay


class Systemd(Notifier):
    """Remembers what it is told."""

    def __init__(self, environment: dict[str, str] | None = None) -> None:
        super().__init__(environment or {})
        self.told: list[str] = []

    def _send(self, state: str) -> None:
        self.told.append(state.partition("=")[0])


class Process:
    """A daemon in a reactor in memory."""

    def __init__(
        self,
        folder: Path,
        environment: dict[str, str] | None = None,
        noted: Sequence[int] = (),
    ) -> None:
        self.relay = Relay(folder)
        self.observer = LineObserver(io.StringIO())
        self.systemd = Systemd(environment)
        self.codes: list[int] = []
        self.reactor = self.relay.reactor
        self.daemon = Daemon(
            self.reactor,
            self.relay.service,
            self.observer,
            lambda: self.codes.append(1),
            self.systemd,
            noted,
        )

    def start(self) -> Process:
        self.daemon.startService()
        self.reactor.hasRun = True
        for hook, arguments, keywords in self.reactor.whenRunningHooks:
            hook(*arguments, **keywords)
        self.reactor.advance(0)
        return self


@pytest.fixture(autouse=True)
def _own_process() -> Iterator[None]:
    """Leave the test run's process as it was."""
    handler = signal.getsignal(signal.SIGHUP)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    core = resource.getrlimit(resource.RLIMIT_CORE)
    yield
    signal.signal(signal.SIGHUP, handler)
    resource.setrlimit(resource.RLIMIT_NOFILE, files)
    resource.setrlimit(resource.RLIMIT_CORE, core)
    gc.unfreeze()


def test_it_is_ready_once_the_relay_serves(tmp_path: Path) -> None:
    process = Process(tmp_path)
    assert process.systemd.told == []
    process.start()
    assert process.systemd.told == ["READY"]
    assert any("relay.ready" in line for line in process.relay.recorded.lines)


def test_the_watchdog_is_fed_while_the_reactor_turns(tmp_path: Path) -> None:
    process = Process(tmp_path, {"WATCHDOG_USEC": "4000000"}).start()
    process.reactor.pump([2, 2])
    assert process.systemd.told == ["READY", "WATCHDOG", "WATCHDOG", "WATCHDOG"]
    process.daemon.stopService()
    process.reactor.pump([2, 2])
    assert process.systemd.told[4:] == ["STOPPING"]


def test_a_relay_that_cannot_start_says_why_and_ends_with_a_code(tmp_path: Path) -> None:
    process = Process(tmp_path)
    process.relay.store.open = lambda: fail(StorageError("damaged"))  # type: ignore[method-assign]
    process.start()
    assert process.relay.recorded.lines == ["error relay.failed reason=damaged"]
    assert process.codes == [1]
    assert process.reactor.hasStopped
    assert process.systemd.told == []


def test_a_fault_of_ours_at_the_start_ends_it_too(tmp_path: Path) -> None:
    process = Process(tmp_path)
    process.relay.store.open = lambda: fail(ZeroDivisionError("oops"))  # type: ignore[method-assign]
    process.start()
    (line,) = process.relay.recorded.lines
    assert line.startswith('error relay.failed error="ZeroDivisionError: oops"')
    assert process.codes == [1]


def test_a_disk_that_fails_later_ends_it(tmp_path: Path) -> None:
    process = Process(tmp_path).start()
    process.relay.service.on_failure(StorageError("the disk failed"))
    assert process.relay.recorded.lines[-1] == 'error relay.failed reason="the disk failed"'
    assert process.codes == [1]
    assert process.reactor.hasStopped


def test_sighup_reads_the_configuration_and_tells_systemd(tmp_path: Path) -> None:
    process = Process(tmp_path).start()
    process.relay.next = process.relay.service.config.replace(log=Log(format="json"))
    signal.raise_signal(signal.SIGHUP)
    assert process.systemd.told == ["READY", "RELOADING", "READY"]
    assert process.observer.form == "json"


def test_sighup_before_the_relay_runs_is_obeyed_once_it_does(tmp_path: Path) -> None:
    noted = note_hang_ups()
    process = Process(tmp_path, noted=noted)
    signal.raise_signal(signal.SIGHUP)
    process.relay.next = process.relay.service.config.replace(log=Log(format="json"))
    process.start()
    assert process.systemd.told == ["READY", "RELOADING", "READY"]
    assert process.observer.form == "json"


def test_sighup_with_a_wrong_configuration_is_one_line(tmp_path: Path) -> None:
    process = Process(tmp_path).start()
    process.relay.next = ConfigError("relay.toml:1: wrong")
    before = process.relay.service.config
    process.daemon.hang_up()
    assert process.relay.recorded.lines[-1] == 'error config.refused reason="relay.toml:1: wrong"'
    assert process.relay.service.config is before
    assert process.systemd.told == ["READY", "RELOADING", "READY"]


def test_it_can_be_stopped_while_it_starts(tmp_path: Path) -> None:
    process = Process(tmp_path)
    process.relay.store.open = Deferred  # type: ignore[method-assign,assignment]
    process.start()
    stopped = process.daemon.stopService()
    assert stopped.called
    assert process.codes == []
    assert not process.reactor.hasStopped


def test_it_can_be_stopped_before_the_reactor_runs(tmp_path: Path) -> None:
    process = Process(tmp_path)
    process.daemon.startService()
    process.daemon.stopService()
    for hook, arguments, keywords in process.reactor.whenRunningHooks:
        hook(*arguments, **keywords)
    assert not any("relay.ready" in line for line in process.relay.recorded.lines)


def test_it_gives_the_application_its_log(tmp_path: Path) -> None:
    process = Process(tmp_path)
    application = Application("securerelay")
    process.daemon.setServiceParent(application)
    assert application.getComponent(ILogObserver) is process.observer  # type: ignore[attr-defined]
    assert process.daemon in IServiceCollection(application)


def test_a_crash_leaves_no_secrets_in_a_core_file(tmp_path: Path) -> None:
    Process(tmp_path).start()
    assert resource.getrlimit(resource.RLIMIT_CORE)[0] == 0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft == hard
