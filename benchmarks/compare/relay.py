"""This relay, as it is compared."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Any

import securerelay
from benchmarks.compare.broker import Broker, Client, Unsupported
from benchmarks.daemon import CONFIGURATION, Daemon
from benchmarks.patterns import new_stream
from benchmarks.peer import Peer
from securerelay.protocol import messages
from securerelay.protocol.connection import ClientTicket, Credential

_LIMITS = """
mailbox_messages = 10000000
mailbox_bytes = 8589934592
mailbox_sender_percent = 100
"""
_ROOMS = """
[rooms]
members = 10000
"""
_NAMES = 500
"""Members that are added at a time."""
_PING = b"PING beat\n"
_ANSWER_AFTER = 3.0
"""Seconds after which those that are there answer PINGs."""
_ACK_EVERY = 256
_ACK_BYTES = 1 << 20
"""Messages with ttl 0, or their bytes, after which the receiver says how far it is."""


class RelayClient(Client):
    """One session.

    Args:
        name: whose.
        size: bytes of a body.
        peer: its connection.
    """

    def __init__(self, name: bytes, size: int, peer: Peer) -> None:
        super().__init__(name, size)
        self.peer = peer
        self.socket: socket.socket = peer.socket
        self._seq = 0
        self._every = _ACK_EVERY
        self._unacknowledged = 0

    def listen(self, room: bytes = b"", *, kept: bool = False) -> None:
        """See :meth:`Client.listen`; rooms come into the same mailbox."""
        self._every = 1 if kept else max(1, min(_ACK_EVERY, _ACK_BYTES // len(self.body)))
        self.peer.send(messages.listen(0))
        while b"LISTEN " not in self.peer.received:
            self.peer.receive()
        self.peer.received.clear()

    def send(self, to: bytes, count: int, *, kept: bool = False) -> None:
        """See :meth:`Client.send`."""
        out = []
        if not self._seq:
            out.append(messages.stream(new_stream(), 0))
        ttl = None if kept else 0
        for seq in range(self._seq + 1, self._seq + count + 1):
            out.append(messages.send(seq, to, ttl, False, self.body))
        self._seq += count
        if kept:
            self.sent += count
        self.peer.send(b"".join(out))

    def call(self, method: str, **parameters: Any) -> None:
        """Call a control method."""
        self.peer.send(messages.call(b"1", method.encode("ascii"), json.dumps(parameters).encode()))
        while b"REPLY 1 " not in self.peer.received:
            self.peer.receive()
        if b"REPLY 1 ok" not in self.peer.received:
            raise SystemExit(f"{method}: {bytes(self.peer.received)!r}")
        self.peer.received.clear()

    def take(self) -> int:
        """See :meth:`Client.take`."""
        peer = self.peer
        peer.receive()
        received = peer.received
        end = _complete(received, len(self.body))
        count = received.count(b"MSG ", 0, end)
        if count:
            self._unacknowledged += count
            if self._unacknowledged >= self._every:
                self._unacknowledged = 0
                last = received.rfind(b"MSG ", 0, end) + 4
                peer.send(messages.ack(int(received[last : received.index(b" ", last)])))
        ok = received.rfind(b"OK ", 0, end)
        if ok >= 0 and self.sent:
            seq = int(received[ok + 3 : received.index(b"\n", ok)])
            self.settled = max(self.settled, seq - self._seq + self.sent)
        if received.find(_PING, 0, end) >= 0:
            peer.send(messages.pong(b"beat"))
        if received.find(b"NO ", 0, end) >= 0:
            raise SystemExit(f"refused: {bytes(received[:end][-200:])!r}")
        del received[:end]
        return count


def _complete(received: bytearray, size: int) -> int:
    """Tell where the last complete message ends; bodies hold nothing but ``x``."""
    last = received.rfind(b"MSG ")
    newline = received.rfind(b"\n")
    if last < 0:
        return newline + 1
    header = received.find(b"\n", last)
    if header < 0 or header + 1 + size > len(received):
        return last
    return max(header + 1 + size, newline + 1)


class Relay(Broker):
    """The relay with its limits out of the way."""

    title = "SecureRelay"

    def __init__(self) -> None:
        super().__init__()
        self._daemon = Daemon(limits=_LIMITS, configuration=CONFIGURATION + _ROOMS)
        self._enrolled: dict[bytes, Credential] = {}
        self._here: list[Client] = []
        self._answered = 0.0
        self._ticket: ClientTicket | None = None

    @classmethod
    def found(cls) -> str | None:
        """See :meth:`Broker.found`."""
        return securerelay.__file__

    @classmethod
    def version(cls) -> str:
        """See :meth:`Broker.version`."""
        return securerelay.__version__

    def start(self) -> None:
        """See :meth:`Broker.start`."""
        self._daemon.start()

    def stop(self) -> None:
        """See :meth:`Broker.stop`."""
        self._daemon.__exit__(None, None, None)
        super().stop()

    @property
    def pid(self) -> int:
        """See :attr:`Broker.pid`."""
        return self._daemon.pid

    def cpu(self) -> float:
        """See :meth:`Broker.cpu`."""
        return self._daemon.cpu()

    def enrol(self, name: bytes) -> Credential:
        """Enrol a peer, once."""
        if name not in self._enrolled:
            self._enrolled[name] = self._daemon.enrol(name.decode("ascii"))
        return self._enrolled[name]

    def arriving(self, count: int, size: int) -> Iterator[Client]:
        """See :meth:`Broker.arriving`."""
        # All are enrolled before any connects: who is silent for long is cut.
        names = [b"p%d" % number for number in range(count)]
        credentials = [self.enrol(name) for name in names]
        for name, credential in zip(names, credentials, strict=True):
            client = RelayClient(name, size, self.connect(credential))
            self._here.append(client)
            self._answer()
            yield client

    def _answer(self) -> None:
        """Have those who are here answer PINGs, now and then."""
        if time.monotonic() - self._answered > _ANSWER_AFTER:
            for client in self._here:
                client.drain()
            self._answered = time.monotonic()

    def listen(self, clients: Sequence[Client], room: bytes = b"", *, kept: bool = False) -> None:
        """See :meth:`Broker.listen`."""
        for client in clients:
            client.listen(room, kept=kept)
            self._answer()

    def connect(self, credential: Credential, ticket: ClientTicket | None = None) -> Peer:
        """Connect one peer."""
        return Peer(self._daemon.port, self._daemon.relay_id, credential, ticket).handshake()

    def resume(self, count: int) -> None:
        """See :meth:`Broker.resume`."""
        credential = self.enrol(b"p0")
        for _ in range(count):
            peer = self.connect(credential, self._ticket)
            assert peer.greeting is not None, "welcomed"
            if peer.greeting.resumed != (self._ticket is not None):
                raise Unsupported("takes no tickets")
            self._ticket = peer.greeting.tickets[0]
            peer.close()

    def crowd(self, count: int) -> list[Peer]:
        """See :meth:`Broker.crowd`."""
        credentials = [self.enrol(b"p%d" % number) for number in range(10)]
        return [self.connect(credentials[number % 10]) for number in range(count)]

    def make_room(self, clients: list[Client]) -> bytes:
        """See :meth:`Broker.make_room`."""
        owner, *others = clients
        assert isinstance(owner, RelayClient), "ours"
        owner.call("room.create", room="@crowd")
        for first in range(0, len(others), _NAMES):
            some = others[first : first + _NAMES]
            owner.call(
                "room.add", room="@crowd", peers=[peer.name.decode("ascii") for peer in some]
            )
            self._answer()
        return b"@crowd"

    def absent(self) -> bytes:
        """See :meth:`Broker.absent`."""
        self.enrol(b"away")
        return b"away"
