"""Channels over Twisted endpoints: :func:`listen` on one side, :func:`join` on the other."""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable

from twisted.internet import interfaces
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, clientFromString, serverFromString
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from zope.interface import implementer

from securerelay.channel.guest import Guest, GuestConnection
from securerelay.channel.host import Host, HostConnection, new_authority, new_key
from securerelay.channel.pipe import Carrier, Pipe
from securerelay.crypto.groups import DEFAULT_GROUPS
from securerelay.errors import ConnectError, SecureRelayError, TimedOut
from securerelay.identity.invitation import Invitation

HANDSHAKE = 10.0
"""Seconds from the connection to the end of the handshake."""
LINGER = 3.0
"""Seconds that an ended connection may take to go."""
TICK = 30.0
"""Seconds between two looks at the age of the keys."""
STRANGERS = 16
"""Connections that have not proved themselves, at a time."""

Connection = HostConnection | GuestConnection


@implementer(interfaces.IPushProducer)
class ChannelWire(Protocol):
    """A transport that carries one connection of a channel.

    Args:
        opened: makes the connection when the transport is there; returns None to refuse it.
        gone: called when the transport has gone.
        clock: for the deadlines.
    """

    def __init__(
        self,
        opened: Callable[[Carrier], Connection | None],
        gone: Callable[[ChannelWire], None],
        clock: interfaces.IReactorTime,
    ) -> None:
        self._opened = opened
        self._transport: typing.Any = None
        self._gone = gone
        self._clock = clock
        self._timer: interfaces.IDelayedCall | None = None
        self._ending = False
        self.end: Connection | None = None

    def connectionMade(self) -> None:
        """Begin."""
        self._transport = self.transport
        if interfaces.ITCPTransport.providedBy(self._transport):
            self._transport.setTcpNoDelay(True)
            self._transport.setTcpKeepAlive(True)
        self._transport.registerProducer(self, True)
        self.end = self._opened(self)
        if self.end is None:
            self._transport.abortConnection()
            return
        self._after(HANDSHAKE, self._too_slow)
        self.end.start()

    def dataReceived(self, data: bytes) -> None:
        """Pass on what came."""
        if self.end is not None:
            self.end.connection.receive(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the connection that its transport has gone."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._ending = True
        if self.end is not None:
            self.end.connection.lost()
        self._gone(self)

    # -- Carrier

    def write(self, data: bytes) -> None:
        """See Carrier."""
        self._transport.write(data)

    def lose(self) -> None:
        """See Carrier."""
        if not self._ending:
            self._ending = True
            self._after(LINGER, self._transport.abortConnection)
            self._transport.unregisterProducer()
            self._transport.loseConnection()

    def hold(self, hold: bool) -> None:
        """See Carrier."""
        if not self._ending:
            self._transport.pauseProducing() if hold else self._transport.resumeProducing()

    # -- deadlines

    def _after(self, seconds: float, call: Callable[[], object]) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._clock.callLater(seconds, call)

    def _too_slow(self) -> None:
        assert self.end is not None
        if self.end.pipe is None:
            self.end.timed_out()
            self.lose()
        else:
            self._tick()

    def _tick(self) -> None:
        assert self.end is not None
        self._after(TICK, self._tick)
        self.end.connection.tick()

    # -- IPushProducer: the transport has enough, or takes more

    def pauseProducing(self) -> None:
        """See IPushProducer."""
        if self.end is not None and self.end.pipe is not None:
            self.end.pipe.slow(True)

    def resumeProducing(self) -> None:
        """See IPushProducer."""
        if self.end is not None and self.end.pipe is not None:
            self.end.pipe.slow(False)

    def stopProducing(self) -> None:
        """See IPushProducer; :meth:`connectionLost` follows."""


class Listener:
    """A channel that waits for its guest; :func:`listen` makes it."""

    def __init__(self, clock: interfaces.IReactorTime) -> None:
        self._clock = clock
        self._port: interfaces.IListeningPort | None = None
        self._wires: set[ChannelWire] = set()
        self._waiter: Deferred[Pipe] = Deferred()
        self._host: Host | None = None

    @property
    def invitation(self) -> str:
        """The one line that lets one guest in. It is a secret until it has been used."""
        assert self._host is not None
        return self._host.invitation.uri()

    def accept(self, timeout: float | None = None) -> Deferred[Pipe]:
        """Wait for the guest; afterwards nothing listens any more.

        Args:
            timeout: seconds to wait; None for as long as it takes.

        Raises:
            TimedOut: through the Deferred, if nobody came.
        """
        if timeout is None or self._waiter.called:
            return self._waiter

        def late(_: object, __: float) -> typing.NoReturn:
            self.close()
            raise TimedOut("nobody joined the channel in time")

        return self._waiter.addTimeout(timeout, self._clock, onTimeoutCancel=late)

    def close(self) -> None:
        """Stop waiting; a pipe that stands is not touched."""
        if self._port is not None:
            port, self._port = self._port, None
            port.stopListening()
        for wire in list(self._wires):
            if wire.end is not None and wire.end.pipe is None:
                wire.lose()

    def established(self, pipe: Pipe) -> None:
        """The guest is in."""
        self.close()
        self._waiter.callback(pipe)

    def serve(self, host: Host, port: interfaces.IListeningPort) -> None:
        """Begin to wait."""
        self._host, self._port = host, port

    def factory(self) -> Factory:
        """Make what the endpoint serves."""
        return Factory.forProtocol(
            lambda: ChannelWire(self._open, self._wires.discard, self._clock)
        )

    def _open(self, carrier: Carrier) -> HostConnection | None:
        assert isinstance(carrier, ChannelWire)
        if self._host is None or self._host.taken or len(self._wires) >= STRANGERS:
            return None
        self._wires.add(carrier)
        return HostConnection(self._host, carrier, self._clock.seconds)


def _own_address(port: interfaces.IListeningPort) -> tuple[str, int]:
    address = port.getHost()
    if isinstance(address, (IPv4Address, IPv6Address)):
        anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  only read, not bound
        return anywhere.get(address.host, address.host), address.port
    return "localhost", 1  # joined through an endpoint that the guest names


async def listen(
    endpoint: str | interfaces.IStreamServerEndpoint,
    *,
    address: tuple[str, int] | None = None,
    groups: tuple[str, ...] = DEFAULT_GROUPS,
    reactor: typing.Any = None,
) -> Listener:
    """Open a channel: make throw-away keys, listen, and invite one guest.

    Args:
        endpoint: a Twisted server endpoint, or its string such as ``tcp:0:interface=127.0.0.1``.
        address: host and port to name in the invitation; those listened on unless told otherwise.
        groups: permitted key-exchange groups by preference.
        reactor: the reactor; Twisted's own unless told otherwise.

    Returns:
        What has the invitation and waits for the guest.

    Raises:
        ConnectError: if the endpoint cannot be listened on.
    """
    reactor = _reactor(reactor)
    listener = Listener(reactor)
    authority = await deferToThreadPool(reactor, reactor.getThreadPool(), new_authority)
    key = await deferToThreadPool(reactor, reactor.getThreadPool(), new_key)
    server = serverFromString(reactor, endpoint) if isinstance(endpoint, str) else endpoint
    try:
        port = await server.listen(listener.factory())
    except Exception as error:
        raise ConnectError(f"cannot listen for the channel: {error}") from error
    host = Host(authority, key, address or _own_address(port), listener.established, groups=groups)
    listener.serve(host, port)
    return listener


async def join(
    invitation: str,
    *,
    endpoint: str | interfaces.IStreamClientEndpoint | None = None,
    groups: tuple[str, ...] = DEFAULT_GROUPS,
    reactor: typing.Any = None,
) -> Pipe:
    """Join a channel by its invitation.

    Args:
        invitation: the line that the host was given.
        endpoint: where to connect, instead of the address in the invitation.
        groups: permitted key-exchange groups by preference.
        reactor: the reactor; Twisted's own unless told otherwise.

    Returns:
        The pipe.

    Raises:
        InvitationError: the line is mistyped or has expired.
        ConnectError: nobody answers.
        AuthenticationFailed: what answers is not the host that made the invitation.
        Refused: ``token-used``, ``expired``, ``revoked``.
    """
    reactor = _reactor(reactor)
    parsed = Invitation.parse(invitation)
    key = await deferToThreadPool(reactor, reactor.getThreadPool(), new_key)
    guest = Guest(parsed, key, groups=groups)
    client: interfaces.IStreamClientEndpoint
    if endpoint is None:
        client = HostnameEndpoint(reactor, parsed.host, parsed.port)
    else:
        client = clientFromString(reactor, endpoint) if isinstance(endpoint, str) else endpoint
    return await connect_guest(guest, client, reactor)


async def connect_guest(
    guest: Guest, endpoint: interfaces.IStreamClientEndpoint, clock: interfaces.IReactorTime
) -> Pipe:
    """Connect twice: for the certificate, and with it."""
    while True:
        done: Deferred[Pipe | SecureRelayError | None] = Deferred()

        def opened(
            carrier: Carrier, done: Deferred[Pipe | SecureRelayError | None] = done
        ) -> GuestConnection:
            return GuestConnection(guest, carrier, clock.seconds, done.callback)

        wire = functools.partial(ChannelWire, opened, lambda _: None, clock)
        try:
            await endpoint.connect(Factory.forProtocol(wire))
        except Exception as error:
            raise ConnectError(f"cannot reach the host of the channel: {error}") from error
        result = await done
        if isinstance(result, SecureRelayError):
            raise result
        if result is not None:
            return result


def _reactor(reactor: typing.Any) -> typing.Any:
    if reactor is None:
        from twisted.internet import reactor
    return reactor
