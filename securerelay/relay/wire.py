"""The relay's side of a socket, once it is accepted: bytes in, bytes out, deadlines, heartbeats.

A turn's output is written at once when the transport holds nothing back, which saves a trip round
the reactor; what the socket does not take is left to the transport, which then says when it has
written all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import tcp
from twisted.internet.interfaces import (
    IDelayedCall,
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    ITCPTransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from securerelay.protocol.connection import End, RelayConnection
from securerelay.relay.context import RelayContext
from securerelay.relay.door import failed
from securerelay.relay.host import Host
from securerelay.relay.limits import UNIX, source_of

LINGER = 2.0
"""Seconds in which the other side may read our last words and close."""
BEAT = 7.0
"""Seconds between two looks at a connection: silent for two it is asked, for four it is cut."""
BEATS = 28
"""Into so many groups connections are divided, each of which is looked at in a time of its own."""
AT_ONCE = 16
"""Connections of a group that are looked at in one turn, so that no message waits for them long."""


@implementer(IProtocol, IPushProducer)
class RelayProtocol(Host):
    """One connection.

    Args:
        context: the relay.
        beats: those whose hearts beat together with this one's.
    """

    __slots__ = (
        "_beats",
        "_blocked",
        "_counted",
        "_direct",
        "_held",
        "_late",
        "_over",
        "_silent",
        "_timer",
        "transport",
    )

    def __init__(self, context: RelayContext, beats: set[RelayProtocol]) -> None:
        super().__init__(context)
        self._beats = beats
        self._timer: IDelayedCall | None = None
        self._blocked: float | None = None
        self._late = b""
        self._counted = self._direct = self._held = self._over = False
        self._silent = 0
        self.transport: Any = None

    # --- the transport calls ---

    def makeConnection(self, transport: Any) -> None:
        """See :class:`twisted.internet.interfaces.IProtocol`."""
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        """Begin with a stranger, or close without a word."""
        context, transport = self.context, self.transport
        self.source = source_of(getattr(transport.getPeer(), "host", None))
        self._counted = context.gate.arrived(self.source, self)
        if not self._counted:
            self._over = True
            transport.abortConnection()
            return
        self.connection = RelayConnection(context.handshake, self, context.router.seconds)
        self._direct = isinstance(transport, tcp.Connection)
        if not self._direct:
            transport.registerProducer(self, True)
        seconds = context.config.limits.first_byte_seconds
        self._timer = context.reactor.callLater(seconds, self._too_slow)

    def dataReceived(self, data: bytes) -> None:
        """Take bytes, as soon as strangers may cost more if they come from one."""
        if self.session is not None:
            self._silent = 0
            self.connection.receive(data)
        elif not self._over:
            self._stranger(data)

    def connectionLost(self, reason: Failure) -> None:
        """Nothing comes or goes any more."""
        self.transport = None
        if self.session is not None or not self._over:
            self.connection.lost()
        self._stop_timer()
        if self._counted:
            self._counted = False
            self.context.gate.left(self.source, self)

    def pauseProducing(self) -> None:
        """The transport holds back enough."""
        self._blocked = self.context.router.seconds()

    def resumeProducing(self) -> None:
        """The transport has written everything."""
        if self._blocked is None:
            return  # registering said so already
        self._blocked = None
        if self._direct:
            self.transport.unregisterProducer()
        if self._over:
            self._end_output()
        elif self.session is not None:
            self.session.flush()

    def stopProducing(self) -> None:
        """The connection is lost; that is told by itself."""

    # --- strangers ---

    def _stranger(self, data: bytes) -> None:
        gate = self.context.gate
        limits = self.context.config.limits
        if not self._silent and self._timer is not None:
            # The first bytes came: the handshake has the rest of its time, counted from accept.
            self._silent = 1
            self._timer.delay(limits.handshake_seconds - limits.first_byte_seconds)
        data, self._late = self._late + data, b""
        wait = gate.cpu.wait()
        if wait > 0.0:
            self._late = data
            self.hold(True)
            self.context.reactor.callLater(wait, self._try_again)
            return
        early = self.connection.paused
        with gate.cpu.measured():
            self.connection.receive(data)
        if early and self.connection.paused:
            # Records may follow the proof before it is judged; one read of them is enough for now.
            self.hold(True)

    def _try_again(self) -> None:
        if not self._over and self._late:
            self.hold(False)
            self._stranger(b"")

    def _too_slow(self) -> None:
        self._timer = None
        self.connection.timed_out()

    def give_way(self) -> None:
        """See :class:`~securerelay.relay.limits.Stranger`."""
        self._counted = False
        self._over = True
        self._stop_timer()
        self._cut()

    def find_ticket(self, ticket_id: bytes, verify: Callable[[bytes], None]) -> None:
        """See :class:`~securerelay.relay.host.Host`; nobody asks who did not knock."""
        self._knocked()
        super().find_ticket(ticket_id, verify)

    def sign(self, context: bytes, digest: bytes) -> None:
        """See :class:`~securerelay.relay.host.Host`; nobody asks who did not knock."""
        self._knocked()
        super().sign(context, digest)

    def _knocked(self) -> None:
        self.context.gate.knocked(self)
        if ITCPTransport.providedBy(self.transport) and self.source != UNIX:
            self.transport.setTcpNoDelay(True)

    def entered(self) -> None:
        """See :class:`~securerelay.relay.host.Host`."""
        self._stop_timer()
        self._counted = False
        self._silent = 0
        self._beats.add(self)
        self.context.gate.authenticated(self.source, self)

    def answered(self) -> None:
        """See :class:`~securerelay.relay.host.Host`; a session knows itself when it is held."""
        if self._over:
            return
        if self.session is None:
            self.hold(self.connection.paused)
            return
        self.hold(self.session.held)
        late, self._late = self._late, b""
        if late:  # what waited for the strangers' share comes before what is read next
            self.connection.receive(late)

    # --- output ---

    @property
    def ready(self) -> bool:
        """See :class:`~securerelay.relay.session.Wire`."""
        return self._blocked is None and self.connection.may_send

    def send(self, data: bytes) -> bool:
        """See :class:`~securerelay.relay.session.Wire`."""
        return self._blocked is None and self.connection.offer(data)

    def write(self, data: bytes) -> None:
        """Send bytes: now if nothing waits before them."""
        transport = self.transport
        if transport is None:
            return
        if self._direct and self._blocked is None:
            try:
                sent = transport.socket.send(data)
            except OSError:  # full, or lost: the transport will find out which
                sent = 0
            if sent == len(data):
                return
            transport.write(data[sent:])
            # A producer that is asked once all is written; the first time at once, for nothing.
            transport.registerProducer(self, False)
            self._blocked = self.context.router.seconds()
        else:
            transport.write(data)

    def hold(self, hold: bool) -> None:
        """See :class:`~securerelay.relay.session.Wire`."""
        if self.transport is not None and hold != self._held:
            self._held = hold
            if hold:
                self.transport.pauseProducing()
            else:
                self.transport.resumeProducing()

    # --- the end ---

    def ended(self, end: End) -> None:
        """See :class:`~securerelay.relay.host.Host`; what comes while we linger is thrown away."""
        if end.error is not None:  # a fault of our own, which ends this connection alone
            failure = Failure(end.error)
            self.context.log.failure("connection.failed", failure, source=self.source)
        self._finish(end.code, end.detail, end.orderly)
        if self.transport is not None:
            self._timer = self.context.reactor.callLater(LINGER, self._cut)
            self._end_output()

    def close(self, reason: str) -> None:
        """See :class:`~securerelay.relay.session.Wire`; who does not answer is cut in the end."""
        super().close(reason)
        if self._timer is None and not self._over:
            seconds = self.context.config.limits.stalled_seconds
            self._timer = self.context.reactor.callLater(seconds, self._too_slow)

    def abort(self, reason: str) -> None:
        """See :class:`~securerelay.relay.session.Wire`."""
        self._finish(reason, "", False)
        self._cut()

    def _finish(self, code: str, detail: str, orderly: bool) -> None:
        if self._over:
            return
        self._over = True
        self._stop_timer()
        context, session = self.context, self.session
        self.hold(False)
        if session is None:
            if not orderly and code != "truncated":
                failed(context, self.source, code, detail)
            return
        self._beats.discard(self)
        told = context.log.info if orderly or code == "truncated" else context.log.warn
        told(
            "session.closed",
            source=self.source,
            peer=session.peer.text,
            session=session.session_id.hex(),
            reason=code,
            detail=detail or None,
        )
        session.left()

    def _end_output(self) -> None:
        """Say that nothing more comes, once all is written."""
        if self._direct:
            self.transport.loseWriteConnection()
        else:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def _cut(self) -> None:
        self._timer = None
        if self.transport is not None:
            self.transport.abortConnection()

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    # --- heartbeats ---

    def beat(self, now: float) -> None:
        """Look whether the other side is still there, and how old the keys are."""
        if self._over:
            return
        self.connection.tick()
        if self._over or self.session is None:
            return
        if self._blocked is not None:
            if now - self._blocked >= self.context.config.limits.stalled_seconds:
                self.abort("stalled")
        elif not self._held:  # whom we do not read, we cannot hear
            self._silent += 1
            if self._silent >= 4:
                self.abort("silent")
            elif self._silent >= 2:
                self.session.beat()


@implementer(IProtocolFactory)
class RelayFactory:
    """Makes connections, and keeps their hearts beating.

    Args:
        context: the relay.
    """

    noisy = False

    def __init__(self, context: RelayContext) -> None:
        self._context = context
        self._beats: list[set[RelayProtocol]] = [set() for _ in range(BEATS)]
        self._turn = 0
        self._timer: IDelayedCall | None = None
        self._ports = 0

    def buildProtocol(self, addr: object) -> RelayProtocol:
        """Make one connection."""
        self._turn += 1
        return RelayProtocol(self._context, self._beats[self._turn % BEATS])

    def doStart(self) -> None:
        """A port listens."""
        self._ports += 1
        if self._timer is None:
            self._timer = self._context.reactor.callLater(BEAT / BEATS, self._beat, 0)

    def doStop(self) -> None:
        """A port listens no more."""
        self._ports -= 1
        if not self._ports and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _beat(self, group: int) -> None:
        later, step = self._context.reactor.callLater, BEAT / BEATS
        self._timer = later(step, self._beat, (group + 1) % BEATS)
        waiting = tuple(self._beats[group])
        self._look(waiting[:AT_ONCE])
        for first in range(AT_ONCE, len(waiting), AT_ONCE):
            part = waiting[first : first + AT_ONCE]
            later(step * first / len(waiting), self._look, part)

    def _look(self, protocols: tuple[RelayProtocol, ...]) -> None:
        now = self._context.router.seconds()
        for protocol in protocols:
            protocol.beat(now)
