"""How cost grows with the number of peers, of rooms, and of messages that wait.

``python -m benchmarks growth`` prints, for 10, 100, 1,000 and so on, what one message costs then.
"""

from __future__ import annotations

import json
import resource
import select
import selectors
import statistics
import time
from collections.abc import Iterator

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
_ANSWER_AFTER = 3.0
"""Seconds after which everybody shows to be there; who is silent for long is cut."""
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


class Crowd:
    """Connections that do nothing but answer the relay's PINGs, and some that listen.

    Args:
        daemon: the relay.
    """

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        enrolled = list(daemon.peers(_NAMES + 1))
        self._people: list[tuple[Credential, list[ClientTicket]]] = [
            (credential, []) for _, credential in enrolled[1:]
        ]
        self.names = [name.encode("ascii") for name, _ in enrolled[1:]]
        self.sender = Sender(connect(daemon, enrolled[0][1]))
        self.listeners: list[Receiver] = []
        self._selector = selectors.DefaultSelector()
        self._answered = time.monotonic()
        self.count = 0

    def grow(self, count: int) -> None:
        """Connect until so many are here."""
        while self.count < count:
            credential, tickets = self._people[self.count % _NAMES]
            ticket = tickets.pop() if tickets else None
            daemon = self._daemon
            peer = Peer(daemon.port, daemon.relay_id, credential, ticket).handshake()
            assert peer.greeting is not None, "welcomed"
            tickets[:] = peer.greeting.tickets
            if self.count < _NAMES:
                self.listeners.append(Receiver(peer))
                _here(self.listeners[-1:])
            else:
                self._selector.register(peer.socket, selectors.EVENT_READ, peer)
            self.count += 1
            self.answer()

    def answer(self) -> None:
        """Answer the relay, which asks those it has not heard for a while, now and then."""
        if time.monotonic() - self._answered < _ANSWER_AFTER:
            return
        self._answered = time.monotonic()
        for key, _ in self._selector.select(0):
            peer = key.data
            peer.receive()
            peer.send(messages.pong(b"beat"))
            peer.received.clear()
        for receiver in self.listeners:
            receiver.peer.send(messages.pong(b"here"))
        self.sender.peer.send(messages.pong(b"here"))

    def tell(self, rounds: int, batch: int) -> None:
        """Send to one after the other, so many messages each."""
        for number in range(rounds):
            self.answer()
            place = number % len(self.listeners)
            receiver = self.listeners[place]
            self.sender.send(self.names[place], 0, batch)
            receiver.wait(receiver.count + batch)
            self.sender.settle()

    def close(self) -> None:
        """Everybody goes."""
        for key in list(self._selector.get_map().values()):
            key.data.close()
        self._selector.close()


def peers(quick: bool) -> Iterator[Figure]:
    """Idle connections: memory, the price of a message to one of them, and how long it takes."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    counts = [10, 100, 1000] + ([] if quick else [5000, min(most, 20_000) - _SPARE])
    with Daemon() as daemon:
        crowd = Crowd(daemon)
        before = daemon.resident()
        for count in counts:
            crowd.grow(count)
            here = f"{count:,} peers here"
            grown = daemon.resident() - before
            crowd.tell(_NAMES, 1)
            start, rounds = daemon.cpu(), 50 if quick else 500
            crowd.tell(rounds, 10)
            used = daemon.cpu() - start
            took = []
            for _ in range(100 if quick else 500):
                begun = time.perf_counter()
                crowd.tell(1, 1)
                took.append(time.perf_counter() - begun)
                time.sleep(0.005)
            yield Figure(f"{here}, memory", grown / (1 << 20), "MiB more")
            yield Figure(f"{here}, a message", used / rounds / 10 * 1e6, "us")
            yield Figure(f"{here}, p99 of one", statistics.quantiles(took, n=100)[98] * 1e3, "ms")
        crowd.close()


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
