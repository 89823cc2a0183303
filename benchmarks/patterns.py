"""The patterns of load, each a function that returns what it measured."""

from __future__ import annotations

import base64
import json
import os
import resource
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from benchmarks.daemon import Daemon
from benchmarks.figure import Figure
from benchmarks.micro import micro
from benchmarks.peer import Peer
from securerelay.protocol import messages
from securerelay.protocol.connection import ClientTicket

BODY = bytes(128)


def new_stream() -> bytes:
    """Make a stream's id."""
    return base64.urlsafe_b64encode(os.urandom(16)).rstrip(b"=")


class Sender:
    """Sends batches on one stream and reads the verdicts."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.seq = 0
        peer.send(messages.stream(new_stream(), 0))

    def send(self, to: bytes, ttl: int | None, count: int) -> None:
        """Send ``count`` messages in one write."""
        first = self.seq + 1
        self.seq += count
        self.peer.send(
            b"".join(messages.send(seq, to, ttl, False, BODY) for seq in range(first, self.seq + 1))
        )

    def settle(self) -> None:
        """Wait for the last OK."""
        wanted = messages.ok(self.seq)
        while not self.peer.received.endswith(wanted):
            self.peer.receive()
            if b"NO " in self.peer.received:
                raise SystemExit(f"refused: {bytes(self.peer.received[-200:])!r}")
        self.peer.received.clear()


class Receiver:
    """Listens, counts messages and acknowledges them, when there are so many at least."""

    def __init__(self, peer: Peer, every: int = 1) -> None:
        self.peer = peer
        self.every = every
        self.unacknowledged = 0
        self.count = 0
        self.last = 0
        self.decoder = messages.client_decoder(self)  # type: ignore[arg-type]
        peer.send(messages.listen(0))

    def listen(self, first: int, last: int) -> None:
        """The relay says what the mailbox holds; nothing, at first."""

    def stream(self, stream: bytes, last: int) -> None:
        """The stream of the same peer's sender is open."""

    def ok(self, seq: int) -> None:
        """The same peer's message is accepted."""

    def ping(self, token: bytes) -> None:
        """The relay asks whether we are there."""
        self.peer.send(messages.pong(token))

    def event(self, kind: bytes, body: bytes) -> None:
        """Something happened in a room."""

    def msg(self, number: int, *_: object) -> None:
        """Count one."""
        self.count += 1
        self.unacknowledged += 1
        self.last = number

    def take(self) -> None:
        """Take what came, and acknowledge it."""
        self.decoder.feed(bytes(self.peer.received))
        self.peer.received.clear()
        if self.unacknowledged >= self.every:
            self.unacknowledged = 0
            self.peer.send(messages.ack(self.last))

    def wait(self, count: int) -> None:
        """Wait until so many have come."""
        self.take()
        while self.count < count:
            self.peer.receive()
            self.take()


def _peers(daemon: Daemon, count: int) -> list[Peer]:
    enrolled = list(daemon.peers(count))  # all before any connects: who is silent for long is cut
    return [
        Peer(daemon.port, daemon.relay_id, credential).handshake() for _, credential in enrolled
    ]


def pipelined(ttl: int | None, name: str) -> Callable[[bool], Iterator[Figure]]:
    """One sender, one listener, 100 messages a write."""

    def measure(quick: bool) -> Iterator[Figure]:
        rounds = 50 if quick else 500
        with Daemon() as daemon:
            one, other = _peers(daemon, 2)
            sender, receiver = Sender(one), Receiver(other)
            for warm in (True, False):
                start, total = daemon.cpu(), 20 if warm else rounds
                for _ in range(total):
                    sender.send(b"p1", ttl, 100)
                    receiver.wait(sender.seq)
                    sender.settle()
            yield Figure(name, (daemon.cpu() - start) / rounds / 100 * 1e6, "us a message", 6)

    return measure


def fan_out(
    ttl: int | None, absent: int, name: str, goal: float
) -> Callable[[bool], Iterator[Figure]]:
    """One sender and a room of 300, some of whom are away, ten messages a write.

    What is acknowledged is acknowledged once for all ten; with ttl 0, now and then.
    """

    def measure(quick: bool) -> Iterator[Figure]:
        size, batch, rounds = 300, 10, 10 if quick else 50
        with Daemon() as daemon:
            enrolled = list(daemon.peers(size))
            peers = [
                Peer(daemon.port, daemon.relay_id, credential).handshake()
                for _, credential in enrolled[: size - absent]
            ]
            sender = Sender(peers[0])
            others = json.dumps({"room": "@r", "peers": [name for name, _ in enrolled[1:]]})
            peers[0].send(
                messages.call(b"1", b"room.create", b'{"room": "@r"}')
                + messages.call(b"2", b"room.add", others.encode())
            )
            while b"REPLY 2 ok" not in peers[0].received:
                peers[0].receive()
            receivers = [Receiver(peer, 200 if ttl == 0 else 1) for peer in peers[1:]]
            with selectors.DefaultSelector() as selector:
                for receiver in receivers:
                    receiver.peer.receive()  # everybody listens before anybody speaks
                    selector.register(receiver.peer.socket, selectors.EVENT_READ, receiver)
                for warm in (True, False):
                    start, total = daemon.cpu(), 5 if warm else rounds
                    for _ in range(total):
                        sender.send(b"@r", ttl, batch)
                        while any(receiver.count < sender.seq for receiver in receivers):
                            for key, _ in selector.select(1):
                                key.data.peer.receive()
                                key.data.take()
                        sender.settle()
            used = daemon.cpu() - start
        yield Figure(name, used / rounds / batch / (size - 1) * 1e6, "us a delivery", goal)

    return measure


def closed_loop(quick: bool) -> Iterator[Figure]:
    """200 peers in a ring, each sending one message on whenever one comes."""
    size, seconds = 200, 3.0 if quick else 10.0
    with Daemon() as daemon:
        peers = _peers(daemon, size)
        receivers = [Receiver(peer) for peer in peers]
        senders = [Sender(peer) for peer in peers]
        names = [b"p%d" % ((number + 1) % size) for number in range(size)]
        with selectors.EpollSelector() as selector:
            for receiver in receivers:
                receiver.peer.receive()  # everybody listens before anybody speaks
            for number, peer in enumerate(peers):
                selector.register(peer.socket, selectors.EVENT_READ, number)
                senders[number].send(names[number], 0, 1)
            delivered = 0
            start, end = daemon.cpu(), time.monotonic() + seconds
            while time.monotonic() < end:
                for key, _ in selector.select(1):
                    number = key.data
                    receiver = receivers[number]
                    before = receiver.count
                    receiver.peer.receive()
                    receiver.take()
                    if receiver.count > before:
                        delivered += receiver.count - before
                        senders[number].send(names[number], 0, receiver.count - before)
            used = daemon.cpu() - start
        yield Figure("closed loop of 200 peers", used / delivered * 1e6, "us a message", 12)


def handshakes(quick: bool) -> Iterator[Figure]:
    """Handshakes, one after the other: full, and with tickets that are new or on disk."""
    count = 50 if quick else 300
    with Daemon() as daemon:
        ((_, credential),) = daemon.peers(1)

        def connect(ticket: ClientTicket | None) -> tuple[ClientTicket, ...]:
            peer = Peer(daemon.port, daemon.relay_id, credential, ticket).handshake()
            peer.close()
            return peer.greeting.tickets if peer.greeting is not None else ()

        kept = [ticket for _ in range(count // 2) for ticket in connect(None)]
        time.sleep(1)  # they are on disk then
        for name, goal, tickets in (
            ("full hybrid handshake, RSA-3072", 2.0, [None] * count),
            ("resumed handshake, ticket on disk", 0.6, kept),
            ("resumed handshake, new ticket", 0.6, None),
        ):
            (newest, *_), start = connect(None), daemon.cpu()
            for number in range(count):
                newest, *_ = connect(newest if tickets is None else tickets[number])
            yield Figure(name, (daemon.cpu() - start) / count * 1e3, "ms of CPU", goal)


def idle(quick: bool) -> Iterator[Figure]:
    """Resident memory of connections that do nothing but listen."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = 500 if quick else 5000
    with Daemon() as daemon:
        enrolled = list(daemon.peers(10))
        warm = [Peer(daemon.port, daemon.relay_id, c).handshake() for _, c in enrolled]
        before = daemon.resident()
        peers = []
        for number in range(count):
            credential = enrolled[number % len(enrolled)][1]
            peers.append(Peer(daemon.port, daemon.relay_id, credential).handshake())
        size = (daemon.resident() - before) / count / 1024
        for peer in warm + peers:
            peer.close()
        yield Figure(f"idle connection, of {count:,}", size, "KiB resident", 12)


def help_text(quick: bool) -> Iterator[Figure]:
    """CPU time of ``securerelay --help``."""
    start = resource.getrusage(resource.RUSAGE_CHILDREN)
    runs = 1 if quick else 5
    for _ in range(runs):
        subprocess.run(
            [sys.executable, "-m", "securerelay", "--help"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = end.ru_utime - start.ru_utime + end.ru_stime - start.ru_stime
    yield Figure("securerelay --help", used / runs, "s of CPU", 0.3)


PATTERNS: dict[str, Callable[[bool], Iterator[Figure]]] = {
    "help": help_text,
    "micro": micro,
    "handshakes": handshakes,
    "pipelined": pipelined(None, "100 pipelined, acknowledged"),
    "live": pipelined(0, "100 pipelined, ttl 0"),
    "room-live": fan_out(0, 0, "room of 300, ttl 0", 1),
    "room": fan_out(None, 0, "room of 300, acknowledged", 4),
    "room-away": fan_out(None, 30, "room of 300, a tenth away", 6),
    "loop": closed_loop,
    "idle": idle,
}
