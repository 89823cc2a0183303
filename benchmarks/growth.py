"""How cost grows with the number of peers, of rooms, and of messages that wait.

``python -m benchmarks growth`` prints, for 10, 100, 1,000 and so on, what one message costs then.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import resource
import select
import selectors
import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.connection import Connection

from benchmarks.daemon import CONFIGURATION, Daemon
from benchmarks.delivery import LIMITS, Waiting, connect, fetch, fill
from benchmarks.figure import Figure
from benchmarks.patterns import BODY, Receiver, Sender
from benchmarks.peer import Peer
from securerelay.protocol import messages
from securerelay.protocol.connection import ClientTicket, Credential

_CALLS = "sessions = 1024\ncalls_per_second = 100000\nrooms = 65536\n"
_NAMES = 100
"""Peers that are enrolled; a crowd is connections of theirs, one of each listening."""
_SPARE = 200
"""Descriptors that are left for other things."""
_ANSWER_AFTER = 0.5
"""Seconds after which those who listen answer what they were asked; who is silent is cut."""
_MEASURED = 2000
"""Messages that are timed, which takes as long as the relay takes to ask everybody once."""
_ROOMS_AT_ONCE = 20
_MEMBERS = 10
_SPOKEN_TO = 50
_ADDED = 2000


def _here(crowd: list[Receiver]) -> None:
    """Wait until everybody who listens is heard."""
    for receiver in crowd:
        receiver.peer.receive()
        receiver.take()


def _drain(crowd: list[Receiver]) -> None:
    """Have everybody take what has come, if anything has."""
    for receiver in crowd:
        while select.select([receiver.peer.socket], [], [], 0)[0]:
            receiver.peer.receive()
            receiver.take()


def _idle(control: Connection, daemon: Daemon, people: list[Credential]) -> None:
    """Be as many idle peers as we are told to: connect, and answer what the relay asks.

    Args:
        control: says how many, and is told when they are here.
        daemon: the relay.
        people: whose connections these are.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # which the process that it comes from handles
    tickets: dict[int, tuple[ClientTicket, ...]] = {}
    count = wanted = 0
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select(0 if count < wanted else None):
                if key.fileobj is control:
                    wanted = control.recv()
                else:
                    peer: Peer = key.data
                    peer.receive()
                    if peer.received:
                        peer.received.clear()
                        peer.send(messages.pong(b"beat"))
            if count < wanted:
                place = count % len(people)
                ticket = next(iter(tickets.get(place, ())), None)
                peer = Peer(daemon.port, daemon.relay_id, people[place], ticket).handshake()
                assert peer.greeting is not None, "welcomed"
                tickets[place] = peer.greeting.tickets
                selector.register(peer.socket, selectors.EVENT_READ, peer)
                count += 1
                if count == wanted:
                    control.send(count)


class Crowd:
    """Peers who listen, and many more connections that only answer the relay's PINGs.

    Those are in a process of their own, so that they answer at once and a message does not wait for
    their work.

    Args:
        daemon: the relay.
    """

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        enrolled = list(daemon.peers(_NAMES + 1))
        self._people = [credential for _, credential in enrolled[1:]]
        self.names = [name.encode("ascii") for name, _ in enrolled[1:]]
        self.sender = Sender(connect(daemon, enrolled[0][1]))
        self.listeners: list[Receiver] = []
        self._answered = time.monotonic()
        self._spoken_to = 0
        processes = multiprocessing.get_context("fork")
        self._control, control = processes.Pipe()
        idle = functools.partial(_idle, control, daemon, self._people)
        self._process = processes.Process(target=idle, daemon=True)
        self._process.start()
        control.close()

    def grow(self, count: int) -> None:
        """Connect until so many are here."""
        while len(self.listeners) < min(count, _NAMES):
            peer = connect(self._daemon, self._people[len(self.listeners)])
            self.listeners.append(Receiver(peer))
            _here(self.listeners[-1:])
            self._answer()
        if count > _NAMES:
            self._control.send(count - _NAMES)
            while not self._control.poll(_ANSWER_AFTER):
                self._answer()
            try:
                self._control.recv()
            except EOFError as error:
                raise SystemExit("the crowd could not connect; it said why above") from error

    def _answer(self) -> None:
        """Have those who listen answer PINGs, now and then."""
        if time.monotonic() - self._answered > _ANSWER_AFTER:
            self._answered = time.monotonic()
            _drain(self.listeners)
            self.sender.peer.send(messages.pong(b"here"))

    def tell(self, batch: int) -> float:
        """Send so many to the next of those who listen; returns the seconds until they came."""
        self._answer()
        place = self._spoken_to = (self._spoken_to + 1) % len(self.listeners)
        receiver = self.listeners[place]
        wanted = receiver.count + batch
        begun = time.perf_counter()
        self.sender.send(self.names[place], 0, batch)
        receiver.wait(wanted)
        took = time.perf_counter() - begun
        self.sender.settle()
        return took

    def close(self) -> None:
        """Everybody goes."""
        self._process.terminate()
        self._process.join()


def peers(quick: bool) -> Iterator[Figure]:
    """Idle connections: memory, the price of a message to one of them, and how long it takes."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    counts = [10, 100, 1000] + ([] if quick else [5000, min(most, 20_000 + _SPARE) - _SPARE])
    with Daemon() as daemon, closing(Crowd(daemon)) as crowd:
        before = daemon.resident()
        for count in counts:
            crowd.grow(count)
            here, last = f"{count:,} peers here", count > 5000
            resident = daemon.resident()
            for _ in range(_NAMES):
                crowd.tell(1)
            start, rounds = daemon.cpu(), 50 if quick else 500
            for _ in range(rounds):
                crowd.tell(10)
            used = daemon.cpu() - start
            took = []
            for _ in range(100 if quick else _MEASURED):
                took.append(crowd.tell(1) * 1e3)
                time.sleep(0.005)
            yield Figure(f"{here}, memory", (resident - before) / (1 << 20), "MiB more")
            yield Figure(f"{here}, whole process", resident / 1e6, "MB", 250 if last else None)
            yield Figure(f"{here}, a message", used / rounds / 10 * 1e6, "us")
            late = statistics.quantiles(took, n=100)
            yield Figure(f"{here}, p50 of one", late[49], "ms")
            yield Figure(f"{here}, p99 of one", late[98], "ms", 5 if last else None)


def rooms(quick: bool) -> Iterator[Figure]:
    """Rooms of ten: the price of a delivery in some of them."""
    with Daemon(configuration=CONFIGURATION.replace("sessions = 1024\n", _CALLS)) as daemon:
        enrolled = list(daemon.peers(_MEMBERS))
        sender = Sender(connect(daemon, enrolled[0][1]))
        members = [Receiver(connect(daemon, credential), 200) for _, credential in enrolled[1:]]
        _here(members)
        others, made = [name for name, _ in enrolled[1:]], 0
        for count in [10, 100, 1000] + ([] if quick else [10_000]):
            for number in range(made, count):
                _make_room(sender.peer, f"@r{number}", others)
                if not number % _ROOMS_AT_ONCE:
                    _drain(members)
            made = count
            spoken_to = range(0, count, max(1, count // _SPOKEN_TO))
            rounds = 1 if quick else 10
            for warm in (True, False):
                start = daemon.cpu()
                for _ in range(1 if warm else rounds):
                    for number in spoken_to:
                        sender.send(b"@r%d" % number, 0, 10)
                        for member in members:
                            member.wait(sender.seq)
                        sender.settle()
            each = (daemon.cpu() - start) / rounds / len(spoken_to) / 10 / len(members)
            yield Figure(f"{count:,} rooms of {_MEMBERS}, a delivery", each * 1e6, "us")


def _make_room(owner: Peer, room: str, others: list[str]) -> None:
    owner.received.clear()
    made = json.dumps({"room": room}).encode()
    added = json.dumps({"room": room, "peers": others}).encode()
    owner.send(messages.call(b"1", b"room.create", made) + messages.call(b"2", b"room.add", added))
    while b"REPLY 2 " not in owner.received:
        owner.receive()
    if b"REPLY 2 ok" not in owner.received:
        raise SystemExit(f"{room}: {bytes(owner.received)!r}")
    owner.received.clear()


def waiting(quick: bool) -> Iterator[Figure]:
    """Messages that wait: the price of one more, and of each that is fetched."""
    counts = [10, 100, 1000, 10_000] + ([] if quick else [100_000])
    with Daemon(limits=LIMITS) as daemon:
        (_, one), *recipients = daemon.peers(1 + len(counts))
        sender = Waiting(connect(daemon, one), BODY)
        for count, (name, credential) in zip(counts, recipients, strict=True):
            to = name.encode("ascii")
            fill(sender, to, count)
            start = daemon.cpu()
            for _ in range(0, _ADDED, 100):
                fill(sender, to, 100)
            added = (daemon.cpu() - start) / _ADDED
            _, used, _ = fetch(daemon, credential, count + _ADDED)
            yield Figure(f"{count:,} wait, one more", added * 1e6, "us")
            yield Figure(f"{count:,} wait, each fetched", used / (count + _ADDED) * 1e6, "us")


def growth(quick: bool) -> Iterator[Figure]:
    """All of them."""
    yield from rooms(quick)
    yield from waiting(quick)
    yield from peers(quick)
