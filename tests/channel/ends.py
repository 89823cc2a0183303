"""Hosts and guests with keys that the tests share, and a network in memory between them."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from functools import cache

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.testing import StringTransport
from twisted.test import iosim
from zope.interface import implementer

from securerelay.channel.guest import Guest
from securerelay.channel.host import Host
from securerelay.channel.pipe import Pipe
from securerelay.crypto.groups import DEFAULT_GROUPS
from securerelay.identity.authority import Authority
from securerelay.identity.invitation import Invitation
from tests.protocol.ends import rsa_key

NOW = 1_800_000_000.0
HOST_KEY, GUEST_KEY, OTHER_KEY, CA_KEY, OTHER_CA_KEY = range(5)


@cache
def authority(index: int = CA_KEY) -> Authority:
    now = datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc)
    return Authority.from_key(rsa_key(index), now)


def make_host(
    established: Callable[[Pipe], None],
    ca: int = CA_KEY,
    groups: tuple[str, ...] = DEFAULT_GROUPS,
    now: Callable[[], float] = lambda: NOW,
) -> Host:
    return Host(
        authority(ca), rsa_key(HOST_KEY), ("localhost", 1), established, groups=groups, now=now
    )


def make_guest(
    invitation: Invitation, key: int = GUEST_KEY, groups: tuple[str, ...] = DEFAULT_GROUPS
) -> Guest:
    return Guest(invitation, rsa_key(key), groups=groups, now=lambda: NOW)


def outcome(waiting: Deferred[object]) -> object:
    """What a Deferred has come to: its value, its error, or None."""
    got: list[object] = []

    def look(value: object) -> object:
        got.append(getattr(value, "value", value))
        return got[0]

    waiting.addBoth(look)
    return got[0] if got else None


@implementer(IStreamClientEndpoint)
class Network:
    """Connects a client's factory to a server's, in memory; ``run`` lets the bytes flow."""

    def __init__(self, factory: IProtocolFactory) -> None:
        self.factory = factory
        self.pumps: list[iosim.IOPump] = []

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        client, server = factory.buildProtocol(None), self.factory.buildProtocol(None)
        pump = iosim.connect(
            server,
            iosim.FakeTransport(server, isServer=True),
            client,
            iosim.FakeTransport(client, isServer=False),
        )
        self.pumps.append(pump)
        return succeed(client)

    def run(self) -> None:
        moved = True
        while moved:
            moved = any([pump.pump() for pump in list(self.pumps)])

    def cut(self) -> None:
        """Cut the newest connection in both directions."""
        pump = self.pumps[-1]
        for transport in (pump.clientIO, pump.serverIO):
            transport.abortConnection()
        self.run()


__all__ = ["Network", "StringTransport", "authority", "make_guest", "make_host", "outcome"]
