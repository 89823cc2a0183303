"""How long one input of one peer holds everybody up, and how soon a revoked peer is out.

The processor time of each turn of the relay's event loop, with all that was read, timed and written
in it, is measured inside its process, so what other programs do meanwhile does not count, but for
what they do to the caches.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.daemon import Daemon
from benchmarks.figure import Figure
from benchmarks.flood import CONFIGURATION
from benchmarks.patterns import new_stream
from benchmarks.peer import Peer
from securerelay.protocol import messages
from securerelay.protocol.connection import Credential

PRELUDE = """
import time
from pathlib import Path
from twisted.internet import reactor

iterate, begun, longest = reactor.doIteration, 0.0, 0.0

def measured(wait):
    global begun, longest
    longest = max(longest, time.thread_time() - begun)
    if Path({ask!r}).exists():
        Path({answer!r}).write_text(str(longest))
        Path({ask!r}).unlink()
        longest = 0.0
    begun = time.thread_time()
    iterate(wait)

reactor.doIteration = measured
"""
"""Notes the longest turn of the event loop, and tells it when it is asked by a file."""

GOAL = 10
CUT = 300


def loads() -> Iterator[tuple[str, bytes]]:
    """Yield what a peer may say that takes long for its length, each with a name."""

    def sends(*to: bytes) -> bytes:
        said = (messages.send(n, to[n % len(to)], None, False, b"x") for n in range(1, 4000))
        return b"".join(said)

    values = json.dumps({"a": [{"a": 0}] * 2047}).encode()
    yield "PING", messages.ping(b"x") * 9000
    yield "ACK", messages.ack(0) * 10_000
    yield "SEND to the sender", sends(b"peer3")
    yield "SEND to nobody", sends(b"missing")
    yield "SEND to two by turns", sends(b"peer1", b"peer2")
    yield "CALL with values", messages.call(b"1", b"relay.status", values) * 10
    yield "CALL for the peers", messages.call(b"1", b"peer.list", b"{}") * 2000


def _say(daemon: Daemon, credential: Credential, said: bytes) -> None:
    """Say it in a session of its own, and take what is answered until it is over."""
    peer = Peer(daemon.port, daemon.relay_id, credential).handshake()
    peer.socket.settimeout(2)
    with contextlib.suppress(OSError, SystemExit):
        # Both are open before the rest is said, else it would be refused or wait.
        peer.send(messages.listen(0) + messages.stream(new_stream(), 0) + messages.ping(b"open"))
        while messages.pong(b"open") not in peer.received:
            peer.receive()
        peer.send(said)
        while True:
            peer.receive()
    peer.close()


def inputs(quick: bool) -> Iterator[Figure]:
    """The longest turn under each load."""
    daemon = Daemon(configuration=CONFIGURATION)
    ask, answer = daemon.data.with_name("ask"), daemon.data.with_name("answer")
    daemon.prelude = PRELUDE.format(ask=str(ask), answer=str(answer))
    with daemon:
        for number, (name, said) in enumerate(loads(), 1):
            credential = daemon.enrol(f"peer{number}")
            taken = []
            for _ in range(2 if quick else 5):
                _longest(ask, answer)
                _say(daemon, credential, said)
                taken.append(_longest(ask, answer))
            yield Figure(f"longest turn, {name}", min(taken) * 1000, "ms of CPU", GOAL)


def _longest(ask: Path, answer: Path) -> float:
    """Ask for the longest turn since the last time; the relay answers in the next."""
    answer.unlink(missing_ok=True)
    ask.touch()
    while ask.exists():
        time.sleep(0.05)
    return float(answer.read_text())


def revocation(quick: bool) -> Iterator[Figure]:
    """From the administrator's word to the end of a live session at its client."""
    taken = []
    with Daemon(configuration=CONFIGURATION) as daemon:
        for name, credential in daemon.peers(5 if quick else 20):
            peer = Peer(daemon.port, daemon.relay_id, credential).handshake()
            ends: list[float] = []

            def wait(wire: Peer = peer, ends: list[float] = ends) -> None:
                while wire.socket.recv(1 << 16):
                    pass
                ends.append(time.monotonic())

            waiting = threading.Thread(target=wait)
            waiting.start()
            begun = time.monotonic()
            daemon.admin("revoke", name=name)
            waiting.join()
            taken.append((ends[0] - begun) * 1000)
            peer.close()
    yield Figure("revocation to cut, median", statistics.median(taken), "ms", CUT)
    yield Figure("revocation to cut, longest", max(taken), "ms", CUT)


def stalls(quick: bool) -> Iterator[Figure]:
    """Both."""
    yield from revocation(quick)
    yield from inputs(quick)
