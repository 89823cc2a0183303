"""The load: each pattern loads any broker in the same way, and says what it used."""

from __future__ import annotations

import mmap
import os
import selectors
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.compare.broker import Broker, Client
from benchmarks.compare.mosquitto import Mosquitto
from benchmarks.compare.nats import Nats, NatsSynced
from benchmarks.compare.relay import Relay
from benchmarks.daemon import cpu_of

SMALL = 128
WARM = 0.2
"""The part of a load that is not measured, as much as what is."""
UNDER_WAY = 500
"""Messages that are sent before the first of them has arrived."""
_PAUSE = 2e-4


@dataclass(frozen=True)
class Result:
    """What one run of a pattern measured.

    Attributes:
        value: in the pattern's unit.
        busy: the broker's CPU time in relation to the time that passed; 1 is a core.
        load: the load generator's, likewise.  Near 1 it sets the pace.
    """

    value: float
    busy: float | None = None
    load: float | None = None


Run = Callable[[Broker, float], Result]


@dataclass(frozen=True)
class Pattern:
    """A load and what it measures.

    Attributes:
        title: for people.
        unit: of the figure.
        run: loads a broker that runs; takes how much of the load, 1 for all.
        brokers: which take part, ours first.
        rare: whether it takes so long that it has to be asked for.
    """

    title: str
    unit: str
    run: Run
    brokers: tuple[type[Broker], ...] = (Relay, Mosquitto, Nats)
    rare: bool = False


def _measured(
    broker: Broker,
    load: Callable[[int], int],
    rounds: int,
    unit: float = 1e-6,
    others: Sequence[int] = (),
) -> Result:
    """Run a load; measures the broker's CPU time for each of what it counts.

    Args:
        broker: to be loaded.
        load: takes how many rounds, and returns how many messages those were.
        rounds: of the part that is measured.
        unit: of the figure, in seconds.
        others: processes that load besides this one; the busiest is told of.
    """
    loading = [os.getpid(), *others]
    load(max(1, int(rounds * WARM)))
    used, own, start = broker.cpu(), [cpu_of(pid) for pid in loading], time.monotonic()
    count = load(rounds)
    used, took = broker.cpu() - used, time.monotonic() - start
    busiest = max(cpu_of(pid) - before for pid, before in zip(loading, own, strict=True))
    return Result(used / count / unit, used / took, busiest / took)


class Receiving:
    """A client that receives in a process of its own; to be left as a context.

    Args:
        client: which listens already.

    Attributes:
        pid: of the process.
    """

    def __init__(self, client: Client) -> None:
        self._count = memoryview(mmap.mmap(-1, 8)).cast("Q")
        self.pid = os.fork()
        if not self.pid:
            try:
                while True:
                    self._count[0] += client.take()
            except BaseException:
                os._exit(1)

    @property
    def arrived(self) -> int:
        """How many messages have come in all."""
        return self._count[0]

    def wait(self, count: int) -> None:
        """Wait until so many have come."""
        ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while self.arrived < count:
            if os.waitid(os.P_PID, self.pid, ended) and self.arrived < count:
                raise SystemExit("the receiver's connection ended")
            time.sleep(_PAUSE)

    def __enter__(self) -> Receiving:
        return self

    def __exit__(self, *_: object) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def pair(batch: int, size: int, messages: int) -> Run:
    """One sender, one receiver, so many messages a write, at most 500 or 1 MiB under way."""
    most = min(UNDER_WAY, (1 << 20) // size)

    def run(broker: Broker, part: float) -> Result:
        sender, receiver = broker.clients(2, size)
        receiver.listen()
        with Receiving(receiver) as received:
            sent = 0

            def load(rounds: int) -> int:
                nonlocal sent
                before = sent
                for number in range(rounds):
                    received.wait(sent + batch - most)
                    sender.send(receiver.name, batch)
                    sent += batch
                    if number % 100 == 0:
                        sender.drain()
                received.wait(sent)
                return sent - before

            rounds = max(1, int(messages * part) // batch)
            return _measured(broker, load, rounds, others=[received.pid])

    return run


def kept_pair(batch: int, size: int, messages: int) -> Run:
    """As :func:`pair`, one write at a time, acknowledged by the receiver and to the sender."""

    def run(broker: Broker, part: float) -> Result:
        sender, receiver = broker.clients(2, size)
        receiver.listen(kept=True)

        def load(rounds: int) -> int:
            arrived = 0
            for number in range(1, rounds + 1):
                sender.send(receiver.name, batch, kept=True)
                while arrived < number * batch:
                    arrived += receiver.take()
                sender.settle()
            return arrived

        return _measured(broker, load, max(1, int(messages * part) // batch))

    return run


def away(size: int, messages: int) -> Run:
    """One sender to somebody who is away, at most 256 messages unacknowledged, 32 a write."""

    def run(broker: Broker, part: float) -> Result:
        (sender,) = broker.clients(1, size)
        recipient = broker.absent()

        def load(rounds: int) -> int:
            for _ in range(rounds):
                sender.send(recipient, 32, kept=True)
                sender.settle(256 - 32)
            sender.settle()
            return rounds * 32

        return _measured(broker, load, max(1, int(messages * part) // 32))

    return run


@contextmanager
def _selector(clients: list[Client]) -> Iterator[selectors.BaseSelector]:
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client.socket, selectors.EVENT_READ, client)
        yield selector


def loop(size: int, laps: int) -> Run:
    """Peers in a ring; each sends one message on for each that comes; so many times round."""

    def run(broker: Broker, part: float) -> Result:
        clients = broker.clients(size, SMALL)
        after = dict(zip(clients, [*clients[1:], clients[0]], strict=True))
        broker.listen(clients)
        with _selector(clients) as selector:

            def begin() -> None:
                for client in clients:
                    client.send(after[client].name, 1)

            begin()  # what only the first message of each costs does not count
            missing = size
            while missing:
                for key, _ in selector.select(1):
                    missing -= key.data.take()
            begin()

            def load(laps: int) -> int:
                passed = 0
                while passed < laps * size:
                    for key, _ in selector.select(1):
                        came = key.data.take()
                        for _ in range(came):
                            key.data.send(after[key.data].name, 1)
                        passed += came
                return passed

            return _measured(broker, load, max(1, int(laps * part)))

    return run


def fan_out(size: int, batch: int, messages: int, *, kept: bool = False) -> Run:
    """One sender and a room of so many, so many messages a write, one write at a time."""

    def run(broker: Broker, part: float) -> Result:
        clients = broker.clients(size + 1, SMALL)
        room = broker.make_room(clients)
        sender, *members = clients
        broker.listen(members, room, kept=kept)
        with _selector(members) as selector:

            def load(rounds: int) -> int:
                for _ in range(rounds):
                    sender.send(room, batch, kept=kept)
                    missing = batch * size
                    sender.drain()
                    while missing:
                        for key, _ in selector.select(1):
                            missing -= key.data.take()
                    sender.settle()
                return rounds * batch * size

            return _measured(broker, load, max(1, int(messages * part) // batch))

    return run


def latency(percent: int, rate: float, count: int) -> Run:
    """One message at a time, so many a second, from the write until it has come; milliseconds."""

    def run(broker: Broker, part: float) -> Result:
        sender, receiver = broker.clients(2, SMALL)
        receiver.listen()
        took = []
        for _ in range(max(100, int(count * part))):
            start = time.perf_counter()
            sender.send(receiver.name, 1)
            while not receiver.take():
                pass
            took.append(time.perf_counter() - start)
            time.sleep(1 / rate)
        return Result(statistics.quantiles(took, n=100)[percent - 1] * 1e3)

    return run


def idle(connections: int) -> Run:
    """Resident memory of a connection that does nothing but listen; KiB."""

    def run(broker: Broker, part: float) -> Result:
        count = max(100, int(connections * part))
        warm = broker.crowd(10)
        before = broker.resident()
        held = []
        for client in broker.arriving(count, SMALL):
            client.listen()
            held.append(client)
        size = (broker.resident() - before) / count / 1024
        for connection in [*warm, *held]:
            connection.close()
        return Result(size)

    return run


def handshake(count: int) -> Run:
    """Connect, one after the other, with certificates on both sides; milliseconds of CPU."""

    def run(broker: Broker, part: float) -> Result:
        broker.crowd(10)

        def load(rounds: int) -> int:
            for connection in broker.crowd(rounds):
                connection.close()
            return rounds

        return _measured(broker, load, max(1, int(count * part)), 1e-3)

    return run


def resumed(count: int) -> Run:
    """As :func:`handshake`, each with the ticket that the one before it was given."""

    def run(broker: Broker, part: float) -> Result:
        broker.resume(2)

        def load(rounds: int) -> int:
            broker.resume(rounds)
            return rounds

        return _measured(broker, load, max(1, int(count * part)), 1e-3)

    return run


_ALL = (Relay, Mosquitto, Nats, NatsSynced)
_US = "us a message"

PATTERNS = {
    "pair-100": Pattern("one pair, 100 a write", _US, pair(100, SMALL, 100_000)),
    "pair-10": Pattern("one pair, 10 a write", _US, pair(10, SMALL, 50_000)),
    "pair-1": Pattern("one pair, 1 a write", _US, pair(1, SMALL, 20_000)),
    "pair-1k": Pattern("one pair, 1 KiB, 10 a write", _US, pair(10, 1024, 30_000)),
    "pair-16k": Pattern("one pair, 16 KiB, 10 a write", _US, pair(10, 16_384, 4_000)),
    "loop-200": Pattern("closed loop of 200", _US, loop(200, 200)),
    "loop-2000": Pattern("closed loop of 2,000", _US, loop(2000, 30), rare=True),
    "room-1": Pattern("fan-out to 300, 1 a write", "us a delivery", fan_out(300, 1, 100)),
    "room-10": Pattern("fan-out to 300, 10 a write", "us a delivery", fan_out(300, 10, 200)),
    "room-3000": Pattern(
        "fan-out to 3,000, 10 a write", "us a delivery", fan_out(3000, 10, 60), rare=True
    ),
    "kept": Pattern("acknowledged, 20 a write", _US, kept_pair(20, SMALL, 20_000), _ALL),
    "away": Pattern("recipient away, 1 KiB", _US, away(1024, 12_000), _ALL),
    "handshake": Pattern("full mutual handshake", "ms of CPU", handshake(100)),
    "resumed": Pattern("resumed handshake", "ms of CPU", resumed(300)),
    "p50": Pattern("latency at 200 a second, p50", "ms", latency(50, 200, 500)),
    "p99": Pattern("latency at 200 a second, p99", "ms", latency(99, 200, 500)),
    "idle": Pattern("idle connection, of 2,000", "KiB resident", idle(2000)),
    "idle-5000": Pattern("idle connection, of 5,000", "KiB resident", idle(5000), rare=True),
}
