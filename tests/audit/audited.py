"""A relay in memory that is audited: no sockets, and time that passes by itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from twisted.python.failure import Failure

from securerelay.audit.caller import Caller
from securerelay.audit.run import Who, audit
from securerelay.audit.verdict import Finding, Verdict
from securerelay.errors import ConnectError
from securerelay.relay.config import Config
from tests.relay.world import Pipe, World

STEP = 0.25

Alter = Callable[[bytes], bytes]


class MemoryWire:
    """One connection to a relay in memory.

    Args:
        world: the relay.
        alter: changes what the relay says on it.
        banner: what a relay would say that cannot wait.
    """

    def __init__(self, world: World, alter: Alter, banner: bytes) -> None:
        self._world = world
        self._alter = alter
        self._banner = banner
        self._pipe = Pipe()
        self._relay = world.factory.buildProtocol(None)
        self._gone = False
        self._relay.makeConnection(self._pipe)

    def send(self, data: bytes) -> None:
        if data and not self._gone and not self._pipe.aborted:
            self._relay.dataReceived(data)

    def receive(self, seconds: float) -> bytes | None:
        banner, self._banner = self._banner, b""
        if banner:
            return banner
        waited = 0.0
        while True:
            self._world.run()
            data = self._pipe.value()
            if data:
                self._pipe.clear()
                return self._alter(data)
            if self._pipe.disconnecting:
                self.close()
                return b""
            if waited >= seconds:
                return None
            self._world.clock.advance(min(STEP, seconds))
            waited += STEP

    def close(self) -> None:
        if not self._gone:
            self._gone = True
            self._relay.connectionLost(Failure(ConnectionError()))


class Audited:
    """A relay in memory, and what an audit says of it.

    Args:
        config: of the relay.
        groups: that it permits, by preference.
    """

    def __init__(
        self, config: Config | None = None, groups: tuple[str, ...] = ("x25519mlkem768",)
    ) -> None:
        self.world = World(config, sealed=True)
        self.arm(groups=groups)
        self.caller: Caller
        self.alter: Alter = bytes
        self.banner = b""
        self.listens = 30
        self.slept = 0.0

    def arm(self, **changes: Any) -> None:
        """Change what the relay brings into handshakes."""
        context = self.world.context
        context.handshake = dataclasses.replace(context.handshake, **changes)

    @property
    def relay_id(self) -> bytes:
        return self.world.authority.relay_id

    def _sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.world.run(seconds)

    def audit(self, who: Who | None = None, **options: Any) -> Verdict:
        """Audit it as somebody who knows its id, unless told otherwise."""

        def connect() -> MemoryWire:
            if self.caller.count > self.listens:
                raise ConnectError("nobody listens")
            return MemoryWire(self.world, self.alter, self.banner)

        self.caller = Caller(connect, self.world.clock.seconds, self._sleep)
        return audit(self.caller, who or Who(self.relay_id), now=self.world.wall, **options)

    def finding(self, check: str, who: Who | None = None, **options: Any) -> Finding:
        """Audit it, and return what was found of one thing."""
        (found,) = [one for one in self.audit(who, **options).findings if one.check == check]
        return found
