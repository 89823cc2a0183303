"""Channels inside something else that carries bytes in order, such as messages of a relay.

A channel takes two connections, and a tunnel is one stream; so each piece is framed: the number of
the connection (1 byte), the length (2 bytes), the bytes.  Length 0 ends that connection.
"""

from __future__ import annotations

import time
import typing
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from securerelay.channel.guest import Guest, GuestConnection
from securerelay.channel.host import Host, HostConnection, new_authority, new_key
from securerelay.channel.pipe import Carrier, Pipe
from securerelay.crypto.groups import DEFAULT_GROUPS
from securerelay.errors import ConnectError, RemoteError, SecureRelayError
from securerelay.identity.invitation import Invitation

HEADER = 3
MAX_PIECE = 0xFFFF
MAX_CONNECTIONS = 8
"""Connections in one tunnel: an enrolment that has to be tried again is one more."""


class _Lane:
    """The carrier of one connection in a tunnel."""

    def __init__(self, number: int, write: Callable[[bytes], None]) -> None:
        self._number = number
        self._write = write
        self._ended = False

    def write(self, data: bytes) -> None:
        """See Carrier."""
        for at in range(0, len(data), MAX_PIECE):
            piece = data[at : at + MAX_PIECE]
            self._write(bytes([self._number]) + len(piece).to_bytes(2, "big") + piece)

    def lose(self) -> None:
        """See Carrier."""
        if not self._ended:
            self._ended = True
            self._write(bytes([self._number, 0, 0]))

    def hold(self, hold: bool) -> None:
        """Whatever carries the tunnel bounds it; there is nothing to hold here."""


class Tunnel:
    """One end of a channel in a tunnel: :meth:`feed` it what came; it writes what is to go.

    Args:
        write: carries bytes to the other end's :meth:`feed`, all of them and in order.
        seconds: a clock that never goes back.
    """

    def __init__(
        self, write: Callable[[bytes], None], seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self._write = write
        self._seconds = seconds
        self._buffer = bytearray()
        self._number = 0
        self._connection: HostConnection | GuestConnection | None = None
        self._closed = False
        self.pipe: Deferred[Pipe] = Deferred()
        """Fires once, with the pipe or with the reason why there is none."""

    def feed(self, data: bytes) -> None:
        """Take bytes that the other end wrote, cut anyhow.

        Raises:
            RemoteError: ``protocol``, if they cannot be a tunnel's; the tunnel is then closed.
        """
        if self._closed:
            return
        self._buffer += data
        position = 0
        while len(self._buffer) >= position + HEADER and not self._closed:
            number = self._buffer[position]
            length = int.from_bytes(self._buffer[position + 1 : position + HEADER], "big")
            end = position + HEADER + length
            if len(self._buffer) < end:
                break
            self._piece(number, bytes(self._buffer[position + HEADER : end]))
            position = end
        del self._buffer[:position]

    def _piece(self, number: int, data: bytes) -> None:
        if number > self._number and not self._accepts(number):
            self.close()
            raise RemoteError("protocol", "a connection that nobody awaits")
        if number < self._number or self._connection is None:
            return  # the rest of a connection that has ended here already
        if data:
            self._connection.connection.receive(data)
        else:
            self._connection.connection.lost()

    def _accepts(self, number: int) -> bool:
        return False

    def _next(self, number: int) -> Carrier:
        self._number = number
        return _Lane(number, self._write)

    def tick(self) -> None:
        """Let old keys be changed; call it every minute or so."""
        if self._connection is not None:
            self._connection.connection.tick()

    def close(self) -> None:
        """The tunnel is gone; a pipe that was not closed before is cut."""
        self._closed = True
        if self._connection is not None:
            self._connection.connection.lost()
        self._fail(ConnectError("the tunnel was closed"))

    def _fail(self, error: SecureRelayError) -> None:
        if not self.pipe.called:
            self.pipe.errback(error)


class HostTunnel(Tunnel):
    """The inviting end.

    Args:
        write: see :class:`Tunnel`.
        make_host: makes the host; it is given what to call with the pipe.
        seconds: see :class:`Tunnel`.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        make_host: Callable[[Callable[[Pipe], None]], Host],
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(write, seconds)
        self.host = make_host(self.pipe.callback)

    @property
    def invitation(self) -> str:
        """What the other end needs to join."""
        return self.host.invitation.uri()

    def _accepts(self, number: int) -> bool:
        if self.host.taken or number > min(self._number + 1, MAX_CONNECTIONS):
            return False
        self._connection = HostConnection(self.host, self._next(number), self._seconds)
        return True


class GuestTunnel(Tunnel):
    """The invited end.

    Args:
        write: see :class:`Tunnel`.
        guest: who joins.
        seconds: see :class:`Tunnel`.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        guest: Guest,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(write, seconds)
        self._guest = guest

    def start(self) -> None:
        """Begin the handshake."""
        if self._number >= MAX_CONNECTIONS:
            self._fail(ConnectError("the channel was not established"))
            return
        carrier = self._next(self._number + 1)
        self._connection = GuestConnection(self._guest, carrier, self._seconds, self._done)
        self._connection.start()

    def _done(self, result: Pipe | SecureRelayError | None) -> None:
        if result is None:
            self.start()
        elif isinstance(result, Pipe):
            self.pipe.callback(result)
        else:
            self._fail(result)


ADDRESS = ("tunnel", 1)
"""What an invitation into a tunnel says instead of an address."""


async def invite(
    write: Callable[[bytes], None],
    *,
    groups: tuple[str, ...] = DEFAULT_GROUPS,
    reactor: typing.Any,
) -> HostTunnel:
    """Make throw-away keys, in threads, and the inviting end of a tunnel.

    Args:
        write: see :class:`Tunnel`.
        groups: permitted key-exchange groups by preference.
        reactor: the reactor.
    """
    authority = await deferToThreadPool(reactor, reactor.getThreadPool(), new_authority)
    key = await deferToThreadPool(reactor, reactor.getThreadPool(), new_key)
    return HostTunnel(
        write, lambda established: Host(authority, key, ADDRESS, established, groups=groups)
    )


async def accept(
    invitation: str,
    write: Callable[[bytes], None],
    *,
    groups: tuple[str, ...] = DEFAULT_GROUPS,
    reactor: typing.Any,
) -> GuestTunnel:
    """Make a throw-away key, in a thread, and the invited end of a tunnel; the handshake has begun.

    Args:
        invitation: from the other end.
        write: see :class:`Tunnel`.
        groups: permitted key-exchange groups by preference.
        reactor: the reactor.

    Raises:
        InvitationError: it is mistyped or has expired.
    """
    parsed = Invitation.parse(invitation)
    key = await deferToThreadPool(reactor, reactor.getThreadPool(), new_key)
    tunnel = GuestTunnel(write, Guest(parsed, key, groups=groups))
    tunnel.start()
    return tunnel
