"""One relay from start to end: store, sessions, endpoints, the administrator's socket, what recurs.

It can live inside another Twisted program; what belongs to a process (signals, systemd, the exit
code) is in :mod:`securerelay.relay.daemon`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from securerelay.crypto import primitives
from securerelay.errors import LocalError
from securerelay.identity import certificates
from securerelay.identity.relayfolder import RelayFolder
from securerelay.protocol.connection import RelayConfig
from securerelay.protocol.hello import KnockMemory
from securerelay.relay import admin
from securerelay.relay.config import Config, Tls
from securerelay.relay.context import RelayContext
from securerelay.relay.door import Door
from securerelay.relay.inviting import Address
from securerelay.relay.limits import Gate
from securerelay.relay.listening import Listeners
from securerelay.relay.logging import SUMMARY_SECONDS, EventLog
from securerelay.relay.signing import SigningPool, Threads
from securerelay.relay.tls import OwnCertificate, hosts, make_options
from securerelay.relay.verbs import AdminVerbs
from securerelay.relay.wire import RelayFactory
from securerelay.store.interface import Store
from securerelay.store.rows import CertificateRow

NEEDS_RESTART = ("listen", "data", "name", "passphrase", "tls", "metrics")
"""What a running relay cannot change."""

DAY = 86_400.0
MINUTE = 60.0


class RelayService:
    """A relay whose ports are taken and whose folder is open, from :func:`prepare.prepare`.

    Args:
        reactor: the reactor.
        config: what to be.
        load: reads the configuration anew, for :meth:`reload`.
        folder: authority, identity, keys.
        store: not open yet.
        listeners: with their ports taken.
        certificate: of the endpoints inside TLS.
        wall: the time of day, Unix seconds.
        log: where events are told; None for a log of its own.
        threads: what signs; None for threads of its own.

    Attributes:
        on_config: told of every configuration that takes effect.
        on_failure: told when the relay cannot go on.
    """

    def __init__(
        self,
        reactor: Any,
        config: Config,
        load: Callable[[], Config],
        folder: RelayFolder,
        store: Store,
        listeners: Listeners,
        certificate: OwnCertificate,
        wall: Callable[[], float] = time.time,
        *,
        log: EventLog | None = None,
        threads: Threads | None = None,
    ):
        self._reactor = reactor
        self.config = config
        self._load = load
        self.folder = folder
        self.store = store
        self.listeners = listeners
        self._certificate = certificate
        self._wall = wall
        self.log = log or EventLog(config.log.lines_per_second, reactor.seconds)
        self.gate = Gate(config.limits, reactor.seconds)
        self.pool = SigningPool(reactor, cpu=self.gate.cpu, pool=threads)
        self.context: RelayContext | None = None
        self.on_config: Callable[[Config], None] = lambda config: None
        self.on_failure: Callable[[LocalError], None] = lambda error: None
        self._admin: IListeningPort | None = None
        self._pages: Listeners | None = None
        self._loops: list[LoopingCall] = []
        self._certify_at = 0.0
        self._started = 0
        self._engine = ""

    @property
    def running(self) -> RelayContext:
        """The parts of the relay, while it runs."""
        if self.context is None:
            raise LocalError("the relay is not running")
        return self.context

    @property
    def relay_id(self) -> bytes:
        """SHA-256 of the authority's key, 32 bytes."""
        return self.folder.authority.relay_id

    async def start(self) -> None:
        """Open the store, begin to serve, and accept the connections that wait already.

        Raises:
            LocalError: if the database, an endpoint or the administrator's socket cannot be used.
        """
        durability = await self.store.open()
        self._engine = durability.engine
        self._started = int(self._wall() * 1000)
        self.pool.start()
        await self._certify()
        self.context = RelayContext(
            reactor=self._reactor,
            config=self.config,
            handshake=self._handshake(KnockMemory()),
            store=self.store,
            epoch=durability.epoch,
            sign=self._sign,
            issue=self._issue,
            pool=self.pool,
            gate=self.gate,
            log=self.log,
            address=self.address,
            wall=self._wall,
        )
        self.context.router.start()
        self.context.keylog.changed()
        context = self.context
        await self.listeners.open(RelayFactory(context), lambda wire: Door(wire, context))
        self._admin = admin.listen(
            self._reactor,
            admin.socket_path(self.config.data),
            admin.AdminFactory(AdminVerbs(self, self._wall).table(), self.log),
        )
        await self._open_pages()
        self._every(DAY, self._renew)
        self._every(MINUTE, self._tidy)
        self._every(SUMMARY_SECONDS, self._summarise)
        self.log.info(
            "relay.ready",
            listen="; ".join(self.listeners.told()),
            id=self.relay_id.hex(),
            data=str(self.config.data),
            engine=durability.engine,
        )

    async def stop(self) -> None:
        """Let the sessions finish and close everything, also halfway through a start."""
        for loop in self._loops:
            loop.stop()
        self._loops.clear()
        if self._admin is not None:
            await maybeDeferred(self._admin.stopListening)
            self._admin = None
        await self.listeners.close()
        if self._pages is not None:
            await self._pages.close()
            self._pages = None
        if self.context is not None:
            await self._drain(self.context)
            self.context.tickets.flush()
            self.context = None
        self.pool.stop()
        await self.store.close()
        self.log.info("relay.stopped")

    async def _drain(self, context: RelayContext) -> None:
        """Let the sessions finish, within the configured time; then they are cut."""
        draining = Deferred.fromCoroutine(context.router.drain())
        draining.addTimeout(self.config.limits.drain_seconds, self._reactor)
        try:
            await draining
        except defer.TimeoutError:
            left = list(context.router.sessions)
            self.log.warn("relay.cut", sessions=len(left))
            for session in left:
                session.cut("shutdown")

    def reload(self) -> list[str]:
        """Read the configuration again and go by it.

        Returns:
            The keys whose change waits for a restart.

        Raises:
            LocalError: if it is wrong; then nothing has changed.
        """
        config = self._load()
        waiting = [
            key for key in NEEDS_RESTART if getattr(config, key) != getattr(self.config, key)
        ]
        self.config = config.replace(**{key: getattr(self.config, key) for key in NEEDS_RESTART})
        if self.context is not None:
            self.context.reconfigure(self.config)
            self.context.handshake = self._handshake(self.context.handshake.knocks)
        self.on_config(self.config)
        self.log.info("config.read", waits_for_restart=", ".join(waiting) or None)
        return waiting

    def address(self) -> Address:
        """Return where invitations lead."""
        if self.config.advertise is not None:
            return Address.parse(self.config.advertise)
        return Address("127.0.0.1", self.listeners.first_port() or 3000)

    async def status(self) -> dict[str, Any]:
        """Describe the relay, for the administrator."""
        peers = await self.store.peers()
        invitations = await self.store.invitations()
        expiry = self.folder.identity.not_after
        return {
            "id": self.relay_id.hex(),
            "name": self.config.name,
            "data": str(self.config.data),
            "listen": self.listeners.told(),
            "advertise": self.config.advertise,
            "started": self._started,
            "certificate_expires": int(expiry.timestamp() * 1000),
            "engine": self._engine,
            "enrolled": sum(peer.state == "active" for peer in peers),
            **({} if self.context is None else self.context.router.status()),
            "unauthenticated": self.gate.unauthenticated,
            "refused": self.gate.refused,
            "refusals": dict(self.gate.refusals),
            "failures": dict(self.gate.failures),
            "penalties": self.gate.penalised(),
            "alarms": sum(row.disputed is not None for row in invitations),
        }

    async def _open_pages(self) -> None:
        """Serve numbers, if the configuration says where."""
        if not self.config.metrics.listen:
            return
        from securerelay.relay import metrics  # which brings a web server with it

        numbers = metrics.Numbers(self)
        await numbers.count()
        config = self.config.replace(
            listen=metrics.endpoints(self.config.metrics.listen), tls=Tls()
        )
        pages = metrics.Pages(self._reactor, numbers)
        self._pages = Listeners(self._reactor, config, self._certificate)
        await self._pages.open(pages)
        self._every(MINUTE, numbers.count)
        self.log.info("metrics.ready", listen="; ".join(self._pages.told()))

    # --- what the parts are given ---

    def _handshake(self, knocks: KnockMemory) -> RelayConfig:
        authority = self.folder.authority
        return RelayConfig(
            relay_id=authority.relay_id,
            ca_spki=authority.spki,
            certificate=self.folder.certificate,
            check_peer=lambda der: certificates.check_peer(authority.public_key, der),
            knocks=knocks,
            suites=self.config.handshake.suites,
            groups=self.config.handshake.groups,
            tickets=2 if self.config.lifetimes.ticket else 0,
        )

    def _sign(self, context: bytes, digest: bytes) -> bytes:
        return primitives.sign_pss(self.folder.key, context, digest)

    def _issue(self, name: str, spki: bytes) -> CertificateRow:
        issued = self.folder.authority.issue_peer(
            name, spki, self._today(), self.config.certificates.peer_days
        )
        return CertificateRow(
            name=name,
            der=issued.der,
            sha256=issued.sha256,
            spki=spki,
            serial=issued.serial,
            not_after=int(issued.not_after.timestamp() * 1000),
            issued=int(self._wall() * 1000),
        )

    def _today(self) -> datetime:
        return datetime.fromtimestamp(self._wall(), timezone.utc)

    # --- what recurs ---

    async def _certify(self) -> None:
        """Make the certificate of the endpoints inside TLS, if there are any and it is due."""
        if not self.config.tls.listen or self._wall() < self._certify_at:
            return
        days = self.config.certificates.relay_days
        self._certificate.options = await self.pool.run(
            make_options, self.folder, hosts(self.config), self._today(), days
        )
        self._certify_at = self._wall() + days * DAY * 2 / 3

    async def _renew(self) -> None:
        """Renew the relay's certificates when they are due."""
        if self.folder.renew(self._today()) and self.context is not None:
            self.context.handshake = self._handshake(self.context.handshake.knocks)
            self.log.info("certificate.renewed")
        await self._certify()

    async def _summarise(self) -> None:
        self.log.summarise()

    async def _tidy(self) -> None:
        """Forget what has expired, and make good a head of the key log that failed."""
        await self.store.tidy(int(self._wall() * 1000))
        if self.context is not None:
            self.context.keylog.changed()

    def _every(self, seconds: float, act: Callable[[], Awaitable[None]]) -> None:
        """Do something again and again; once that it fails is told and does not end it."""

        async def once() -> None:
            try:
                await act()
            except Exception:
                self.log.failure("recurring.failed", Failure(), what=act.__name__)

        loop = LoopingCall(lambda: Deferred.fromCoroutine(once()))
        loop.clock = self._reactor
        loop.start(seconds, now=False)
        self._loops.append(loop)
