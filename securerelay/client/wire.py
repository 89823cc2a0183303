"""The thin Twisted protocol between a transport and a client's connection.

It owns what only a transport has: deadlines, heartbeats, back-pressure, and one write per reactor
turn however many messages were handed over in it.  What bytes mean is the connection's business,
what messages mean the session's.
"""

from __future__ import annotations

import base64
import secrets
import typing

from twisted.internet import interfaces
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from securerelay.errors import SecureRelayError
from securerelay.protocol import messages
from securerelay.protocol.connection import ClientConfig, ClientConnection, End, Welcome

HANDSHAKE = 15.0
"""Seconds from the connection to WELCOME."""
HEARTBEAT = 7.0
"""Seconds between two looks at a connection; after two in silence the relay is asked whether it is
there.
"""
SILENCE = 3
"""Looks in silence with which the connection is still kept: it is given up within 28 seconds."""
LINGER = 3.0
"""Seconds that an ended connection may take to go."""
TURN_BYTES = 256 * 1024
"""Bytes written in one turn of the reactor at most."""


class Owner(typing.Protocol):
    """What a wire serves: it is asked for output, and told what came."""

    def config(self) -> ClientConfig:
        """Say how to greet the relay; called once, when the transport is there."""

    def decoder(self, wire: ClientWire) -> messages.MessageDecoder:
        """Make what takes the content of DATA records."""

    def pull(self, budget: int) -> list[bytes]:
        """Give the encoded messages to write now, about ``budget`` bytes of them."""

    def welcomed(self, wire: ClientWire, welcome: Welcome) -> None:
        """The session stands, or has new keys and tickets."""

    def lost(self, wire: ClientWire, end: End) -> None:
        """The connection is gone; called exactly once."""


@implementer(interfaces.IPushProducer)
class ClientWire(Protocol):
    """One connection to a relay.

    Args:
        owner: the session behind it.
        clock: for every deadline.
    """

    def __init__(self, owner: Owner, clock: interfaces.IReactorTime) -> None:
        self._owner = owner
        self._transport: typing.Any = None
        self._clock = clock
        self._end: End | None = None
        self._timer: interfaces.IDelayedCall | None = None
        self._flushing: interfaces.IDelayedCall | None = None
        self._paused = self._reading_paused = False
        self._silent = 0
        self.welcomed = False
        self.connection: ClientConnection | None = None

    def connectionMade(self) -> None:
        """Greet the relay."""
        self._transport = self.transport
        if interfaces.ITCPTransport.providedBy(self._transport):
            self._transport.setTcpNoDelay(True)
        self._transport.registerProducer(self, True)
        self._decoder = self._owner.decoder(self)
        try:
            config = self._owner.config()
        except SecureRelayError as error:
            self._end = End("internal", str(error), orderly=False, by_peer=False)
            self.abort()
            return
        self.connection = ClientConnection(config, self, self._clock.seconds)
        self._after(HANDSHAKE, self._too_slow)
        self.connection.start()

    def dataReceived(self, data: bytes) -> None:
        """Pass on what came."""
        self._silent = 0
        if self._end is None and self.connection is not None:
            self.connection.receive(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the owner how it ended."""
        if self.connection is not None:
            self.connection.lost()
        for timer in (self._timer, self._flushing):
            if timer is not None and timer.active():
                timer.cancel()
        end = self._end or End("truncated", reason.getErrorMessage(), orderly=False, by_peer=False)
        self._owner.lost(self, end)

    # -- what the owner asks for

    def wake(self) -> None:
        """There is something to write; it leaves at the end of this turn of the reactor."""
        if self._flushing is None and self._end is None:
            self._flushing = self._clock.callLater(0, self._flush)

    def close(self) -> None:
        """Write what is due, say goodbye, and go once the relay has answered."""
        if self._end is None and self.welcomed and self.connection is not None:
            self._write_due()
            self.connection.close("done")
            self._after(LINGER, self.abort)
        else:
            self.abort()

    def abort(self) -> None:
        """Go at once."""
        if self._transport is not None:
            self._transport.abortConnection()

    def hold_reading(self, hold: bool) -> None:
        """Stop or go on reading, because the application is slow or has caught up."""
        self._reading_paused = hold
        if hold:
            self._transport.pauseProducing()
        else:
            self._transport.resumeProducing()

    # -- output

    def _flush(self) -> None:
        self._flushing = None
        if self._write_due() >= TURN_BYTES:
            self.wake()

    def _write_due(self) -> int:
        connection = self._speaking()
        if connection is None or self._paused:
            return 0
        data = b"".join(self._owner.pull(TURN_BYTES))
        if data:
            connection.send(data)
        return len(data)

    def _speaking(self) -> ClientConnection | None:
        """The connection, while messages may be written."""
        ready = self.welcomed and self._end is None
        connection = self.connection if ready else None
        return connection if connection is not None and connection.may_send else None

    def pauseProducing(self) -> None:
        """The transport has enough for now."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The transport takes more."""
        self._paused = False
        self.wake()

    def stopProducing(self) -> None:
        """The transport takes nothing any more; :meth:`connectionLost` follows."""
        self._paused = True

    # -- deadlines and heartbeats

    def _after(self, seconds: float, call: typing.Callable[[], None]) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._clock.callLater(seconds, call)

    def _too_slow(self) -> None:
        self._end = End(
            "timeout", "the relay did not finish the handshake", orderly=False, by_peer=False
        )
        self.abort()

    def _heartbeat(self) -> None:
        self._after(HEARTBEAT, self._heartbeat)
        if self._reading_paused:
            # What is not read cannot be missed; but the relay must go on hearing of us.
            self._ping()
            return
        self._silent += 1
        if self._silent > SILENCE:
            self._end = End("timeout", "the relay fell silent", orderly=False, by_peer=False)
            self.abort()
            return
        if self._silent > 1:
            self._ping()
        connection = self._speaking()
        if connection is not None:
            connection.tick()

    def _ping(self) -> None:
        connection = self._speaking()
        if connection is not None:
            connection.send(messages.ping(base64.urlsafe_b64encode(secrets.token_bytes(6))))

    # -- what the connection says (ClientHost)

    def write(self, data: bytes) -> None:
        """Put bytes on the transport."""
        self._transport.write(data)

    def welcome(self, welcome: Welcome) -> None:
        """WELCOME came: the session is authenticated, or has its new keys."""
        if not self.welcomed:
            self.welcomed = True
            self._after(HEARTBEAT, self._heartbeat)
        self._owner.welcomed(self, welcome)
        self.wake()

    def data(self, content: bytes) -> None:
        """DATA came."""
        self._decoder.feed(content)

    def ended(self, end: End) -> None:
        """The connection said its last word."""
        self._end = self._end or end
        self._after(LINGER, self.abort)
        self._transport.unregisterProducer()
        self._transport.loseConnection()
