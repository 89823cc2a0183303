"""Relays, logs and threads in memory, for tests that move time by hand."""

from __future__ import annotations

import datetime
import io
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import Logger, LogPublisher

from securerelay.crypto.primitives import sha256
from securerelay.errors import LocalError
from securerelay.identity.relayfolder import RelayFolder
from securerelay.relay.config import Config
from securerelay.relay.listening import Listeners
from securerelay.relay.logging import EventLog, LineObserver
from securerelay.relay.service import RelayService
from securerelay.relay.tls import OwnCertificate
from securerelay.store.memory import MemoryStore
from securerelay.store.rows import CertificateRow
from tests.relay.folders import copy_folder


class Recorded:
    """A log with its own publisher; ``lines`` is what an observer wrote."""

    def __init__(self, form: str = "text", lines_per_second: int = 20):
        self.clock = Clock()
        self.stream = io.StringIO()
        self.observer = LineObserver(self.stream, form, self.clock.seconds)
        self.publisher = LogPublisher(self.observer)
        self.log = EventLog(
            lines_per_second, self.clock.seconds, Logger("securerelay", observer=self.publisher)
        )

    @property
    def lines(self) -> list[str]:
        """The lines without their times."""
        return [line.split(" ", 1)[1] for line in self.stream.getvalue().splitlines()]


class Patient:
    """Stands for threads and reactor: what is to be done waits until the test says so."""

    def __init__(self) -> None:
        self.work: list[Callable[[], None]] = []

    def start(self) -> None:
        """There is nothing to start."""

    def stop(self) -> None:
        """There is nothing to stop."""

    def put(self, job: Callable[[], None]) -> None:
        self.work.append(job)

    def callFromThread(self, call: Callable[..., Any], *arguments: Any) -> None:
        call(*arguments)

    def do_one(self) -> None:
        self.work.pop(0)()


class ThreadlessReactor(MemoryReactorClock):
    """A reactor in memory that takes what threads hand it at once."""

    def __init__(self) -> None:
        super().__init__()
        self.hasStopped = False  # Twisted before 26.4 has it stopped from the beginning

    def callFromThread(self, call: Any, *arguments: Any) -> None:
        call(*arguments)


class Relay:
    """A relay in memory; ``next`` is the configuration that it reads next."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.reactor = ThreadlessReactor()
        now = datetime.datetime.now(datetime.timezone.utc)
        self.reactor.advance(now.timestamp())
        config = Config(data=copy_folder(folder / "data"), **changes)
        self.next: Config | LocalError = config
        self.threads = Patient()
        self.store = MemoryStore()
        self.recorded = Recorded()
        self.certificate = OwnCertificate()
        self.listeners = Listeners(self.reactor, config, self.certificate)
        self.listeners.take_ports()
        self.service = RelayService(
            self.reactor,
            config,
            self.load,
            RelayFolder.open(config.data, now=now, days=config.certificates.relay_days),
            self.store,
            self.listeners,
            self.certificate,
            self.reactor.seconds,
            log=self.recorded.log,
            threads=self.threads,  # type: ignore[arg-type]
        )

    def load(self) -> Config:
        if isinstance(self.next, LocalError):
            raise self.next
        return self.next

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end, doing the threads' work as it comes."""
        outcome: list[Any] = []
        deferred = Deferred.fromCoroutine(work)
        deferred.addBoth(outcome.append)
        while not outcome and (self.threads.work or self.reactor.getDelayedCalls()):
            if self.threads.work:
                self.threads.do_one()
            self.reactor.advance(0.001)
        (result,) = outcome
        if hasattr(result, "raiseException"):
            result.raiseException()
        return result

    def start(self) -> Relay:
        self.run(self.service.start())
        self.work()
        return self

    def work(self) -> None:
        """Have the threads do what waits for them."""
        while self.threads.work:
            self.threads.do_one()

    def ask(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """Ask as the administrator."""
        factory = self.reactor.unixServers[-1][1]
        protocol, transport = factory.buildProtocol(None), StringTransport()
        protocol.makeConnection(transport)
        protocol.dataReceived(json.dumps({"verb": verb, **arguments}).encode() + b"\n")
        answer: dict[str, Any] = json.loads(transport.value())
        return answer

    def enrol(self, name: str, days: int = 30) -> None:
        """Put a peer into the directory."""
        now = int(self.reactor.seconds() * 1000)
        token = bytes.fromhex(self.ask("invite", name=name)["token"])
        row = CertificateRow(
            name, name.encode(), sha256(name.encode()), b"spki", 77, now + days * 86_400_000, now
        )
        self.run(self._consume(token, row, now))

    async def _consume(self, token: bytes, row: CertificateRow, now: int) -> None:
        await self.store.consume(token, row, now)
