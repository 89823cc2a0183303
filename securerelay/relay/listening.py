"""Where the relay listens: Twisted's endpoint strings, some of them inside TLS of the relay's own.

Ports are taken before anything else is done, so that one that is in use is told at once and leaves
nothing behind; connections then wait in the kernel's queue until the relay is ready for them.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet import tcp
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IReactorFDSet,
    IReadDescriptor,
    IStreamServerEndpoint,
)
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from securerelay.errors import ConfigError, LocalError
from securerelay.relay.config import Config
from securerelay.relay.tls import OwnCertificate
from securerelay.text import printable

_EARLY = ("tcp:", "tcp4:", "tcp6:", "ssl:")
"""Endpoints that listen at once and leave nothing on disk."""

BACKLOG = 512
"""Connections that may wait to be accepted; with fewer a flood makes everybody's first packet drop,
and who repeats his has lost a second."""


@implementer(IProtocolFactory)
class _Door:
    """Stands where the ports are taken for the factory that there is not yet.

    Starting and stopping of single ports is not passed on: the factory is started once, when all
    are open.
    """

    def __init__(self) -> None:
        self.factory: IProtocolFactory | None = None

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:
        """Make a session; there is none before :meth:`Listeners.open`."""
        return None if self.factory is None else self.factory.buildProtocol(addr)

    def doStart(self) -> None:
        """A port was taken."""

    def doStop(self) -> None:
        """A port was given back."""


@dataclass(slots=True)
class Listener:
    """One endpoint.

    Attributes:
        text: the endpoint string.
        endpoint: what it stands for.
        tls: whether it is inside TLS of our own.
        port: the listening port, once there is one.
    """

    text: str
    endpoint: IStreamServerEndpoint
    tls: bool
    port: IListeningPort | None = None


class Listeners:
    """All endpoints of a relay.

    Args:
        reactor: what listens.
        config: says where.
        certificate: for the endpoints inside TLS.

    Raises:
        ConfigError: if an endpoint string is none.
    """

    def __init__(self, reactor: IReactorFDSet, config: Config, certificate: OwnCertificate):
        self._reactor = reactor
        self._door = _Door()
        self._wrapped = TLSMemoryBIOFactory(certificate, False, self._door)
        self._wrapped.noisy = False
        self._listeners = [
            Listener(text, _parse(reactor, text), tls)
            for tls, texts in ((False, config.listen), (True, config.tls.listen))
            for text in texts
        ]
        if not self._listeners:
            raise ConfigError("the relay is to listen nowhere; give it a port")

    def take_ports(self) -> None:
        """Bind what can be bound at once, without accepting anything yet.

        Raises:
            LocalError: if a port is in use or not permitted.
        """
        for listener in self._listeners:
            if listener.text.startswith(_EARLY):
                outcome: list[IListeningPort | Failure] = []
                self._listen(listener).addBoth(outcome.append)
                if not outcome:
                    raise LocalError(f"{printable(listener.text)} does not listen")
                if isinstance(outcome[0], Failure):
                    raise _told(listener, outcome[0])
                listener.port = outcome[0]
                if IReadDescriptor.providedBy(listener.port):
                    self._reactor.removeReader(listener.port)

    async def open(
        self, factory: IProtocolFactory, door: Callable[[Any], Any] | None = None
    ) -> None:
        """Bind the rest and accept connections.

        Args:
            factory: makes the sessions.
            door: makes of the socket of a plain TCP port what connections are accepted from.

        Raises:
            LocalError: if one cannot listen.
        """
        self._door.factory = factory
        factory.doStart()
        for listener in self._listeners:
            if listener.port is None:
                try:
                    listener.port = await self._listen(listener)
                except Exception as error:
                    raise _told(listener, Failure()) from error
            elif IReadDescriptor.providedBy(listener.port):
                self._reactor.addReader(listener.port)
            port: Any = listener.port
            if door is not None and self._is_plain(port):
                port.socket = door(port.socket)

    def _is_plain(self, port: Any) -> bool:
        """Tell whether connections come there over TCP, and with nothing wrapped around them."""
        return (
            getattr(port, "factory", None) is self._door
            and isinstance(port, tcp.Port)
            and isinstance(port.getHost(), IPv4Address | IPv6Address)
        )

    def _listen(self, listener: Listener) -> Deferred[IListeningPort]:
        factory = self._wrapped if listener.tls else self._door
        return maybeDeferred(listener.endpoint.listen, factory)

    async def close(self) -> None:
        """Stop listening; connections that exist go on."""
        ports = [listener.port for listener in self._listeners if listener.port is not None]
        for listener in self._listeners:
            listener.port = None
        if self._door.factory is not None:
            self._door.factory.doStop()
            self._door.factory = None
        await gatherResults(
            [maybeDeferred(port.stopListening) for port in ports], consumeErrors=True
        )

    def told(self) -> list[str]:
        """Describe where the relay listens, for people: ``0.0.0.0 port 3000``."""
        return [
            _place(listener.port) + (" in TLS" if listener.tls else "")
            for listener in self._listeners
            if listener.port is not None
        ]

    def first_port(self) -> int | None:
        """Return the number of the first plain TCP port, if there is one."""
        for listener in self._listeners:
            if listener.port is not None and not listener.tls:
                host = listener.port.getHost()
                if isinstance(host, IPv4Address | IPv6Address):
                    return host.port
        return None


def _place(port: IListeningPort) -> str:
    host = port.getHost()
    if isinstance(host, IPv4Address | IPv6Address):
        return f"{host.host} port {host.port}"
    name = getattr(host, "name", None)
    return printable(name) if isinstance(name, bytes | str) else str(host)


def _parse(reactor: object, text: str) -> IStreamServerEndpoint:
    if text.startswith(_EARLY) and ":backlog=" not in text:
        text += f":backlog={BACKLOG}"
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, text)
    except Exception as error:
        # Each endpoint type reports what it does not like in a way of its own.
        reason = printable(str(error) or type(error).__name__, 120)
        raise ConfigError(f"{printable(text)} is no endpoint to listen on: {reason}") from error
    return endpoint


def _told(listener: Listener, failure: Failure) -> LocalError:
    error = failure.value
    reason = error.socketError if isinstance(error, CannotListenError) else error
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    if getattr(reason, "errno", None) == errno.EADDRINUSE:
        text += "; does a relay run already? Or take another port"
    return LocalError(f"cannot listen on {printable(listener.text)}: {printable(text, 160)}")
