"""What every part of a running relay may use, in one place."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from twisted.internet.interfaces import IReactorTime

from securerelay.protocol.connection import RelayConfig
from securerelay.relay.config import Config
from securerelay.relay.inviting import Address
from securerelay.relay.keylog import KeyLog
from securerelay.relay.limits import Gate
from securerelay.relay.logging import EventLog
from securerelay.relay.router import Router
from securerelay.relay.signing import Runs
from securerelay.relay.tickets import Tickets
from securerelay.store.interface import Store
from securerelay.store.rows import CertificateRow


@dataclass(slots=True, kw_only=True)
class RelayContext:
    """A relay's parts, as :mod:`~securerelay.relay.service` puts them together.

    Attributes:
        reactor: clock and timers.
        config: what the operator said; replaced by :meth:`reconfigure`.
        handshake: what the relay brings into every handshake; connections keep the one they began
            with, so replace it rather than change it.
        store: open.
        epoch: of this opening of the store, the upper bits of every message's number.
        sign: signs with the relay's key: context and digest (48 bytes) to signature; slow, and run
            in ``pool``.
        issue: makes a peer's certificate of name and SubjectPublicKeyInfo; slow, and run in
            ``pool``.
        pool: where the slow things run.
        gate: decides about strangers.
        log: where events are told.
        address: where newcomers are sent, for invitations that peers make.
        wall: the time of day, Unix seconds.
        tickets: what lets peers come back; made of the store.
        router: who is here and who gets what; made of all the others.
        keylog: what the relay says for ever about whom it vouched for; likewise.
    """

    reactor: IReactorTime
    config: Config
    handshake: RelayConfig
    store: Store
    epoch: int
    sign: Callable[[bytes, bytes], bytes]
    issue: Callable[[str, bytes], CertificateRow]
    pool: Runs
    gate: Gate
    log: EventLog
    address: Callable[[], Address]
    wall: Callable[[], float] = time.time
    tickets: Tickets = field(init=False)
    router: Router = field(init=False)
    keylog: KeyLog = field(init=False)

    def __post_init__(self) -> None:
        self.tickets = Tickets(self.reactor, self.store)
        self.router = Router(self.reactor, self.store, self.epoch, self.config, self.log, self.wall)
        self.keylog = KeyLog(
            self.store,
            self.handshake.relay_id,
            lambda context, digest: self.pool.run(self.sign, context, digest),
            self.now,
            self.log,
        )
        self.router.on_end = self.keylog.changed

    def now(self) -> int:
        """Return the time of day in Unix milliseconds."""
        return int(self.wall() * 1000)

    def reconfigure(self, config: Config) -> None:
        """Go on with another configuration: limits, lifetimes and policy change at once."""
        self.config = config
        self.gate.change(config.limits)
        self.log.lines_per_second = config.log.lines_per_second
        self.router.reconfigure(config)
