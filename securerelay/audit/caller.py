"""The connections of an audit: few, one after the other, and slow enough to be borne with.

A relay holds failed handshakes against the address that they came from. The caller keeps the same
account, and waits before a connection that would overdraw it.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from securerelay.errors import ConnectError

MOST = 30
"""Connections of one audit."""
PATIENCE = 5.0
"""Seconds for an answer."""
FAILURE = 5.0
"""What a relay as shipped adds to a source's penalty for a handshake that failed, in seconds."""
TOO_SLOW = 10.0
"""What it adds for one that ran out of time."""
BEARABLE = 12.0
"""How much an audit lets gather; a relay as shipped refuses a source from 15 s on."""
LONGEST = 1 << 16
"""Bytes that are read of one connection."""


class Wire(Protocol):
    """One connection."""

    def send(self, data: bytes) -> None:
        """Send bytes; that nobody takes them shows when something is received."""

    def receive(self, seconds: float) -> bytes | None:
        """Return some bytes, none at all at the end, or None if nothing came in time."""

    def close(self) -> None:
        """Go."""


class Shut(Exception):
    """The relay closed a connection without a word, as it does with sources that it refuses."""


class SocketWire:
    """A connection over TCP.

    Args:
        host: name or address.
        port: where it listens.
    """

    def __init__(self, host: str, port: int) -> None:
        try:
            self._socket = socket.create_connection((host, port), PATIENCE)
        except OSError as error:
            reason = error.strerror or str(error)
            raise ConnectError(f"cannot connect to {host} port {port}: {reason}") from None
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
        """See :class:`Wire`."""
        with contextlib.suppress(OSError):
            self._socket.sendall(data)

    def receive(self, seconds: float) -> bytes | None:
        """See :class:`Wire`."""
        self._socket.settimeout(max(seconds, 0.001))
        try:
            return self._socket.recv(1 << 16)
        except TimeoutError:
            return None
        except OSError:
            return b""

    def close(self) -> None:
        """See :class:`Wire`."""
        self._socket.close()


class Talk:
    """What is said on one connection, and heard.

    Args:
        wire: the connection.
        seconds: a monotonic clock.

    Attributes:
        heard: every byte that came.
        ended: whether the other side has closed.
    """

    def __init__(self, wire: Wire, seconds: Callable[[], float]) -> None:
        self._wire = wire
        self._seconds = seconds
        self._read = 0
        self.heard = b""
        self.ended = False

    def say(self, data: bytes) -> None:
        """Send bytes."""
        self._wire.send(data)

    def more(self, seconds: float) -> bytes:
        """Wait for bytes and return them; nothing if none came in time or the connection ended."""
        data = None if self.ended else self._wire.receive(seconds)
        self.ended = self.ended or data == b"" or len(self.heard) > LONGEST
        self.heard += data or b""
        return data or b""

    def line(self, seconds: float = PATIENCE) -> bytes | None:
        """Return the next line without its LF, or None if no whole line came."""
        until = self._seconds() + seconds
        while b"\n" not in self.heard[self._read :]:
            left = until - self._seconds()
            if self.ended or left <= 0 or (not self.more(left) and not self.ended):
                return None
        end = self.heard.index(b"\n", self._read)
        line, self._read = self.heard[self._read : end], end + 1
        return line

    def rest(self, seconds: float = PATIENCE) -> bytes:
        """Listen until the other side ends, and return everything that it said."""
        until = self._seconds() + seconds
        while not self.ended and (left := until - self._seconds()) > 0:
            if not self.more(left) and not self.ended:
                break
        return self.heard


class Caller:
    """Opens connections.

    Args:
        connect: opens one.
        seconds: a monotonic clock.
        sleep: waits for so many seconds.

    Attributes:
        count: how many there were.
    """

    def __init__(
        self,
        connect: Callable[[], Wire],
        seconds: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connect = connect
        self.seconds = seconds
        self._sleep = sleep
        self._until = seconds()
        self.count = 0

    @contextlib.contextmanager
    def call(self, penalty: float = 0.0) -> Iterator[Talk]:
        """Connect, for the time of a ``with`` block.

        Args:
            penalty: what the relay will hold against us for what is going to be said, in seconds.

        Raises:
            ConnectError: if nobody listens.
            Shut: if the relay ended the connection without a word.
        """
        assert self.count < MOST, "too many connections for an audit"
        wait = self._until - self.seconds() + penalty - BEARABLE
        if penalty and wait > 0:
            self._sleep(wait)
        self.count += 1
        wire = self._connect()
        talk = Talk(wire, self.seconds)
        try:
            yield talk
        finally:
            wire.close()
            self.owe(penalty)
        if talk.ended and not talk.heard:
            raise Shut

    def owe(self, penalty: float) -> None:
        """Note what the relay holds against us, in seconds, where that was not known before."""
        self._until = max(self._until, self.seconds()) + penalty
