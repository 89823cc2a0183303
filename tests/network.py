"""A network in memory: connections between Twisted factories, whose bytes flow when a test says
so.
"""

from __future__ import annotations

import typing

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError as RefusedByNobody
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.test import iosim
from zope.interface import implementer


def outcome(waiting: Deferred[typing.Any]) -> object:
    """What a Deferred has come to: its value, its error, or None."""
    got: list[object] = []

    def look(value: object) -> object:
        got.append(getattr(value, "value", value))
        return got[0]

    waiting.addBoth(look)
    return got[0] if got else None


@implementer(IStreamClientEndpoint)
class Network:
    """An endpoint that leads to a server's factory; None refuses every connection."""

    def __init__(self, factory: IProtocolFactory | None) -> None:
        self.factory = factory
        self.pumps: list[iosim.IOPump] = []

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        if self.factory is None:
            return fail(RefusedByNobody())
        client, server = factory.buildProtocol(None), self.factory.buildProtocol(None)
        pump = iosim.connect(
            server,
            iosim.FakeTransport(server, isServer=True),
            client,
            iosim.FakeTransport(client, isServer=False),
            greet=False,
        )
        self.pumps.append(pump)
        return succeed(client)

    def run(self) -> None:
        """Let bytes flow until none are left."""
        moved = [True]
        while any(moved):
            moved = [pump.pump() for pump in list(self.pumps)]

    def cut(self) -> None:
        """Cut the newest connection in both directions."""
        pump = self.pumps[-1]
        for transport in (pump.clientIO, pump.serverIO):
            transport.abortConnection()
        self.run()
