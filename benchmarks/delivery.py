"""What keeping messages costs: senders that wait for the disk, full mailboxes, stopped readers.

Figures in messages a second follow the clock, so they mean something on an idle machine alone.
"""

from __future__ import annotations

import os
import selectors
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

from benchmarks.daemon import Daemon
from benchmarks.figure import Figure
from benchmarks.patterns import Receiver, new_stream
from benchmarks.peer import Peer
from securerelay.protocol import messages
from securerelay.protocol.connection import Credential

LIMITS = """
mailbox_messages = 10000000
mailbox_bytes = 8589934592
mailbox_sender_percent = 100
"""
KIB = 1024
BATCH = 2000
"""Messages in one write when only their number counts."""


def connect(daemon: Daemon, credential: Credential) -> Peer:
    """Connect one peer."""
    return Peer(daemon.port, daemon.relay_id, credential).handshake()


class Waiting:
    """A sender that sends the next message when the relay has answered for the one before."""

    def __init__(self, peer: Peer, body: bytes) -> None:
        self.peer = peer
        self.seq = 0
        self._body = body
        peer.send(messages.stream(new_stream(), 0))

    def send(self, to: bytes, count: int = 1) -> None:
        """Send messages in one write."""
        first, self.seq = self.seq + 1, self.seq + count
        self.peer.send(
            b"".join(
                messages.send(seq, to, None, False, self._body)
                for seq in range(first, self.seq + 1)
            )
        )

    def take(self) -> bool:
        """Take what came; tell whether all is answered."""
        self.peer.receive()
        if b"NO " in self.peer.received:
            raise SystemExit(f"refused: {bytes(self.peer.received[-200:])!r}")
        if not self.peer.received.endswith(messages.ok(self.seq)):
            return False
        self.peer.received.clear()
        return True

    def settle(self) -> None:
        """Wait until all is answered."""
        while not self.take():
            pass


def syncs(quick: bool) -> Iterator[Figure]:
    """How often a second the disk takes a page: nobody who waits for it can be faster."""
    count = 50 if quick else 500
    with tempfile.TemporaryFile() as file:
        start = time.monotonic()
        for number in range(count):
            os.pwrite(file.fileno(), bytes(4096), number * 4096)
            os.fdatasync(file.fileno())
        took = time.monotonic() - start
    yield Figure("the disk alone, pages of 4 KiB", count / took, "a second")


def waiting(count: int, goal: int) -> Callable[[bool], Iterator[Figure]]:
    """Senders that wait for each answer, and a recipient who is away."""

    def measure(quick: bool) -> Iterator[Figure]:
        seconds = 1.0 if quick else 10.0
        with Daemon(limits=LIMITS) as daemon:
            *enrolled, (away, _) = daemon.peers(count + 1)
            to = away.encode()
            senders = [Waiting(connect(daemon, one), os.urandom(KIB)) for _, one in enrolled]
            with selectors.EpollSelector() as selector:
                for sender in senders:
                    selector.register(sender.peer.socket, selectors.EVENT_READ, sender)
                    sender.send(to)
                answered, used, start = 0, daemon.cpu(), time.monotonic()
                while (now := time.monotonic()) < start + seconds:
                    for key, _ in selector.select(1):
                        if key.data.take():
                            answered += 1
                            key.data.send(to)
            used = daemon.cpu() - used
        name = f"{count} waiting, 1 KiB kept"
        yield Figure(name, answered / (now - start), "a second", goal)
        yield Figure(f"{name}, CPU", used / answered * 1e6, "us a message")

    return measure


def present(quick: bool) -> Iterator[Figure]:
    """One sender, one listener who acknowledges, 100 messages of 1 KiB a write."""
    rounds = 50 if quick else 500
    with Daemon(limits=LIMITS) as daemon:
        (_, one), (name, other) = daemon.peers(2)
        sender = Waiting(connect(daemon, one), os.urandom(KIB))
        receiver = Receiver(connect(daemon, other))
        for warm in (True, False):
            used, total = daemon.cpu(), 20 if warm else rounds
            for _ in range(total):
                sender.send(name.encode(), 100)
                receiver.wait(sender.seq)
                sender.settle()
        used = daemon.cpu() - used
    yield Figure("present, 1 KiB, 100 pipelined", used / rounds / 100 * 1e6, "us a message", 10)


def fill(sender: Waiting, to: bytes, count: int) -> None:
    """Leave messages for somebody."""
    for first in range(0, count, BATCH):
        sender.send(to, min(BATCH, count - first))
        sender.settle()


def fetch(daemon: Daemon, credential: Credential, count: int) -> tuple[float, float, int]:
    """Empty a mailbox; tell the seconds, the relay's CPU seconds, and its most memory."""
    start, used, most = time.monotonic(), daemon.cpu(), 0
    receiver = Receiver(connect(daemon, credential))
    step = max(1, count // 50)
    for part in range(step, count + step, step):
        receiver.wait(min(part, count))
        most = max(most, daemon.resident())
    receiver.peer.close()
    return time.monotonic() - start, daemon.cpu() - used, most


def drain(quick: bool) -> Iterator[Figure]:
    """A listener comes for 100,000 messages."""
    count = 10_000 if quick else 100_000
    with Daemon(limits=LIMITS) as daemon:
        (_, one), (name, other) = daemon.peers(2)
        fill(Waiting(connect(daemon, one), os.urandom(100)), name.encode(), count)
        took, used, _ = fetch(daemon, other, count)
    yield Figure(f"drain {count:,}", count / took, "a second", 30_000)
    yield Figure(f"drain {count:,}, CPU", used / count * 1e6, "us a message")


def queued(quick: bool) -> Iterator[Figure]:
    """A million messages wait; the relay is killed, starts again, and they are fetched."""
    count = 100_000 if quick else 1_000_000
    with Daemon(limits=LIMITS) as daemon:
        (_, one), (name, other) = daemon.peers(2)
        fill(Waiting(connect(daemon, one), os.urandom(100)), name.encode(), count)
        filled = daemon.resident()
        daemon.kill()
        start = time.monotonic()
        daemon.start(0.01)
        again, began = time.monotonic() - start, daemon.cpu()
        _, used, most = fetch(daemon, other, count)
    yield Figure(f"{count:,} queued, resident", max(filled, most) / 1e6, "MB", 150)
    yield Figure(f"{count:,} queued, serving again", again, "s", 2)
    yield Figure(f"{count:,} queued, serving again", began, "s of CPU")
    yield Figure(f"{count:,} queued, fetched, CPU", used / count * 1e6, "us a message")


class Looker:
    """Somebody who sends to himself meanwhile, and takes the time of each message."""

    def __init__(self, peer: Peer) -> None:
        self._receiver = Receiver(peer)
        self._sender = Waiting(peer, b"hello")
        peer.receive()

    def look(self, name: bytes, count: int, over: threading.Event) -> float:
        """Return the 99th percentile in milliseconds."""
        times: list[float] = []
        while len(times) < count or not over.is_set():
            start = time.perf_counter()
            self._sender.send(name)
            self._receiver.wait(self._sender.seq)
            times.append(time.perf_counter() - start)
            time.sleep(0.002)
        return sorted(times)[len(times) * 99 // 100] * 1e3


def stopped(quick: bool) -> Iterator[Figure]:
    """A gibibyte goes to a listener who reads, and to one who has stopped reading."""
    size, total = 64 * KIB, (1 << 26 if quick else 1 << 30)
    with Daemon(limits=LIMITS) as daemon:
        (_, one), (name, other), (third, witness) = daemon.peers(3)
        sender, to = Waiting(connect(daemon, one), bytes(size)), name.encode()
        looker = Looker(connect(daemon, witness))
        late: dict[bool, float] = {}
        grown = 0
        for reading in (True, False):
            receiver = Receiver(connect(daemon, other))
            receiver.peer.receive()
            over, before = threading.Event(), daemon.resident()

            def look(
                reading: bool = reading, over: threading.Event = over, name: bytes = third.encode()
            ) -> None:
                late[reading] = looker.look(name, 300, over)

            looking = threading.Thread(target=look)
            looking.start()
            for _ in range(total // size // 16):
                sender.send(to, 16)
                if reading:
                    receiver.wait(sender.seq)
                sender.settle()
                grown = max(grown, daemon.resident() - before) if not reading else 0
            over.set()
            looking.join()
            receiver.peer.close()
        fetch(daemon, other, total // size)
    mib = f"{total >> 20:,} MiB"
    yield Figure(f"{mib} to a stopped reader, memory", grown / (1 << 20), "MiB more", 16)
    yield Figure("p99 of others, reader reads", late[True], "ms")
    yield Figure("p99 of others, reader stopped", late[False], "ms", 2 * late[True])


DELIVERY: dict[str, Callable[[bool], Iterator[Figure]]] = {
    "disk": syncs,
    "waiting-1": waiting(1, 1500),
    "waiting-32": waiting(32, 8000),
    "waiting-256": waiting(256, 15_000),
    "present": present,
    "drain": drain,
    "queued": queued,
    "stopped": stopped,
}


def delivery(quick: bool) -> Iterator[Figure]:
    """All of them."""
    for measure in DELIVERY.values():
        yield from measure(quick)
