"""Keeps one authenticated connection to the relay up: back-off, tickets, renewal.

Twisted's ``ClientService`` connects again whenever a connection ends.  A relay that accepts TCP but
not us counts as failed here too, so the back-off is ours: it starts again only when WELCOME has
come.  What an attacker on the network can say (anything in the clear) fails whoever waits, and is
tried again; what only the relay can say, inside the session, may be final.
"""

from __future__ import annotations

import random
import time
import typing
from collections.abc import Callable

from twisted.application.internet import ClientService
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import (
    IDelayedCall,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from securerelay.client.session import Session
from securerelay.client.verdicts import FINAL, PASSING, explain, explain_failure
from securerelay.client.wire import ClientWire
from securerelay.errors import ConnectError, KeyReplaced, SecureRelayError
from securerelay.protocol.connection import ClientConfig, ClientTicket, End, Welcome
from securerelay.protocol.messages import MessageDecoder

FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0
RENEWAL_CHECK = 3600.0


class Identity(typing.Protocol):
    """Who connects, and what it keeps between connections."""

    @property
    def renew_at(self) -> float:
        """When the certificate is to be renewed, Unix seconds."""

    def config(self, ticket: ClientTicket | None) -> ClientConfig:
        """Say how to greet the relay."""

    def take_ticket(self) -> ClientTicket | None:
        """Return a ticket that is not kept anywhere any more."""

    def keep_tickets(self, tickets: tuple[ClientTicket, ...]) -> None:
        """Keep these tickets, and no others."""

    def once(self, key: str) -> str:
        """Name the stream of the one message that a key of the application stands for."""

    def keep_certificate(self, reply: dict[str, typing.Any]) -> None:
        """Check and keep what ``cert.renew`` answered."""


class Link:
    """The connection of a session, made again as often as needed.

    Args:
        identity: who connects.
        session: what is said.
        endpoints: where to connect, tried in turn.
        clock: the reactor.
        jitter: spreads the attempts of many clients; returns 0.0 to 1.0.
        now: Unix seconds.
    """

    _log = Logger()

    def __init__(
        self,
        identity: Identity,
        session: Session,
        endpoints: typing.Sequence[tuple[str, IStreamClientEndpoint]],
        clock: IReactorTime,
        jitter: Callable[[], float] = random.random,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._identity = identity
        self._session = session
        self._endpoints = endpoints
        self._clock = clock
        self._jitter = jitter
        self._now = now
        self._turn = -1
        self._failures = 0
        self._wire: ClientWire | None = None
        self._wire_gone: Deferred[None] | None = None
        self._ticketed = False
        self._renewal: IDelayedCall | None = None
        self._waiters: list[tuple[Deferred[None], int | None]] = []
        self._error: SecureRelayError | None = None
        self._welcome: Welcome | None = None
        self._service = ClientService(
            _InTurn(self), Factory.forProtocol(self._make_wire), self._delay, clock
        )

    # -- the client's side

    @property
    def welcome(self) -> Welcome | None:
        """What the relay said when it last welcomed us; None while there is no connection."""
        return self._welcome

    @property
    def session_id(self) -> bytes | None:
        """The public name of the current session, 16 bytes."""
        connection = self._wire.connection if self._wire is not None else None
        return connection.session_id if connection is not None and self._welcome else None

    def check(self) -> None:
        """Raise why there will be no connection any more, if so."""
        if self._error is not None:
            raise self._error

    def start(self) -> None:
        """Connect, and stay connected."""
        self._service.startService()

    def connected(self, attempts: int | None = None) -> Deferred[None]:
        """Say when there is a connection.

        Args:
            attempts: failed attempts after which to give up waiting; None to wait on.

        Returns:
            Fires at WELCOME; fails with the reason of the last attempt.
        """
        if self._error is not None:
            return fail(self._error)
        if self._welcome is not None:
            return succeed(None)

        def forget(cancelled: Deferred[None]) -> None:
            self._waiters = [pair for pair in self._waiters if pair[0] is not cancelled]

        waiter: Deferred[None] = Deferred(forget)
        self._waiters.append((waiter, attempts))
        return waiter

    def stop(self) -> Deferred[None]:
        """Say goodbye, and stay away.

        Returns:
            Fires when the connection is gone.
        """
        return self._give_up(ConnectError("the client was closed"))

    def _give_up(self, error: SecureRelayError) -> Deferred[None]:
        first, self._error = self._error is None, self._error or error
        if self._renewal is not None and self._renewal.active():
            self._renewal.cancel()
        if first and self._wire is not None:
            # The service stops once the relay has answered our CLOSE: it would cut it short.
            self._wire_gone = Deferred()
            self._wire_gone.addCallback(lambda _: self._service.stopService())
            self._wire.close()
        self._session.fail(self._error)
        waiters, self._waiters = self._waiters, []
        for waiter, _ in waiters:
            waiter.errback(self._error)
        if self._wire_gone is None:
            return self._service.stopService()
        gone: Deferred[None] = Deferred()

        def tell(result: None) -> None:
            gone.callback(None)

        self._wire_gone.addCallback(tell)
        return gone

    # -- attempts

    def next_endpoint(self) -> tuple[str, IStreamClientEndpoint]:
        """Return where to connect this time."""
        self._turn += 1
        return self._endpoints[self._turn % len(self._endpoints)]

    def _make_wire(self) -> ClientWire:
        return ClientWire(self, self._clock)

    def _where(self) -> str:
        return self._endpoints[self._turn % len(self._endpoints)][0]

    def _delay(self, attempt: int) -> float:
        longest = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(self._failures, 16))
        return longest * (0.1 + 0.9 * self._jitter())

    def failed(self, error: SecureRelayError, passing: bool = False) -> None:
        """An attempt came to nothing.

        Args:
            error: why.
            passing: whether the relay is there and only asks to come again.
        """
        self._failures += 1
        self._log.info("cannot use the relay at {where}: {error}", where=self._where(), error=error)
        waiting, self._waiters = self._waiters, []
        for waiter, attempts in waiting:
            if attempts is None or passing:
                self._waiters.append((waiter, attempts))
            elif attempts > 1:
                self._waiters.append((waiter, attempts - 1))
            else:
                # Not at once: whoever hears of it may stop the service that is about to hear too.
                self._clock.callLater(0, _tell, waiter, error)

    # -- Owner of the wires

    def config(self) -> ClientConfig:
        """See :class:`~securerelay.client.wire.Owner`."""
        # Only a session authenticated by certificate can renew it.
        ticket = None if self._now() >= self._identity.renew_at else self._identity.take_ticket()
        self._ticketed = ticket is not None
        try:
            return self._identity.config(ticket)
        except KeyReplaced as error:  # trying again changes nothing
            self._give_up(error)
            raise

    def decoder(self, wire: ClientWire) -> MessageDecoder:
        """See :class:`~securerelay.client.wire.Owner`."""
        self._wire = wire
        return self._session.decoder()

    def pull(self, budget: int) -> list[bytes]:
        """See :class:`~securerelay.client.wire.Owner`."""
        return self._session.pull(budget)

    def welcomed(self, wire: ClientWire, welcome: Welcome) -> None:
        """See :class:`~securerelay.client.wire.Owner`."""
        self._identity.keep_tickets(welcome.tickets)
        if welcome.rekey:
            return
        self._failures = 0
        self._welcome = welcome
        self._session.begin(wire, welcome.limits)
        self._plan_renewal()
        waiters, self._waiters = self._waiters, []
        for waiter, _ in waiters:
            waiter.callback(None)

    def lost(self, wire: ClientWire, end: End) -> None:
        """See :class:`~securerelay.client.wire.Owner`."""
        welcomed, self._welcome, self._wire = self._welcome is not None, None, None
        self._session.end()
        # A ticket that was refused, as one of a certificate that was replaced, is used up and says
        # nothing about us: the next attempt, or the one after, proves itself by certificate.
        judged = welcomed or not self._ticketed
        if self._error is None and judged:
            if end.by_peer and not end.orderly and end.code in FINAL:
                self._give_up(explain(end, self._where()))
            elif not welcomed:
                self.failed(explain(end, self._where()), end.by_peer and end.code in PASSING)
        if self._wire_gone is not None and not self._wire_gone.called:
            self._wire_gone.callback(None)

    # -- renewal

    def _plan_renewal(self) -> None:
        if self._renewal is not None and self._renewal.active():
            self._renewal.cancel()
        left = self._identity.renew_at - self._now()
        if left > 0:
            self._renewal = self._clock.callLater(min(left, RENEWAL_CHECK), self._plan_renewal)
        elif self._welcome is not None and self._wire is not None:
            if self._welcome.resumed:
                self._wire.close()
            else:
                self._renewal = self._clock.callLater(RENEWAL_CHECK, self._plan_renewal)
                renewing = self._session.calls.add("cert.renew", {})
                renewing.addCallback(self._identity.keep_certificate)
                renewing.addErrback(self._not_renewed)
                self._session.wake()

    def _not_renewed(self, failure: Failure) -> None:
        self._log.warn("the certificate was not renewed: {error}", error=failure.value)


def _tell(waiter: Deferred[None], error: SecureRelayError) -> None:
    if not waiter.called:
        waiter.errback(error)


@implementer(IStreamClientEndpoint)
class _InTurn:
    """The endpoint of every attempt: the next of the addresses; the link hears its failures."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def connect(self, factory: IProtocolFactory) -> Deferred[typing.Any]:
        """See IStreamClientEndpoint."""
        where, endpoint = self._link.next_endpoint()

        def failed(failure: Failure) -> Failure:
            self._link.failed(explain_failure(failure.value, where))
            return failure

        return endpoint.connect(factory).addErrback(failed)
