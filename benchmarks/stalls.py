"""How long one input of one peer holds everybody up, and how soon a revoked peer is out.

The relay's own processor time for each read of a connection is measured inside its process, so
what other programs do meanwhile does not count, but for what they do to the caches.
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
from benchmarks.peer import Peer
from securerelay.protocol import messages
from securerelay.protocol.connection import Credential

PRELUDE = """
import time
from pathlib import Path
from securerelay.relay.wire import RelayProtocol

take, longest = RelayProtocol.dataReceived, 0.0

def measured(self, data):
    global longest
    begun = time.thread_time()
    take(self, data)
    longest = max(longest, time.thread_time() - begun)
    if Path({ask!r}).exists():
        Path({answer!r}).write_text(str(longest))
        Path({ask!r}).unlink()
        longest = 0.0

RelayProtocol.dataReceived = measured
"""
"""Notes the longest read, and tells it when it is asked by a file."""

STREAM = b"A" * 22
GOAL = 10
CUT = 300


def loads() -> Iterator[tuple[str, bytes]]:
    """Yield what a peer may say that takes long for its length, each with a name."""

    def sends(to: bytes, ttl: int | None) -> bytes:
        said = (messages.send(number, to, ttl, False, b"x") for number in range(1, 4000))
        return messages.stream(STREAM, 0) + b"".join(said)

    numbers = json.dumps({"a": list(range(10_000))}).encode()
    yield "PING", messages.ping(b"x") * 9000
    yield "ACK", messages.listen(0) + messages.ack(0) * 9000
    yield "SEND to the sender", messages.listen(0) + sends(b"peer3", None)
    yield "SEND to nobody", sends(b"missing", None)
    yield "CALL with numbers", messages.call(b"1", b"relay.status", numbers) * 10
    yield "CALL for the peers", messages.call(b"1", b"peer.list", b"{}") * 1000


def _say(daemon: Daemon, credential: Credential, said: bytes) -> None:
    """Say it in a session of its own, and take what is answered until it is over."""
    peer = Peer(daemon.port, daemon.relay_id, credential).handshake()
    peer.socket.settimeout(2)
    with contextlib.suppress(OSError, SystemExit):
        peer.send(said)
        while True:
            peer.receive()
    peer.close()


def inputs(quick: bool) -> Iterator[Figure]:
    """The longest read of each load."""
    daemon = Daemon(configuration=CONFIGURATION)
    ask, answer = daemon.data.with_name("ask"), daemon.data.with_name("answer")
    daemon.prelude = PRELUDE.format(ask=str(ask), answer=str(answer))
    with daemon:
        for number, (name, said) in enumerate(loads(), 1):
            credential = daemon.enrol(f"peer{number}")
            taken = []
            for _ in range(2 if quick else 5):
                _longest(daemon, credential, ask, answer)
                _say(daemon, credential, said)
                taken.append(_longest(daemon, credential, ask, answer))
            yield Figure(f"longest read, {name}", min(taken) * 1000, "ms of CPU", GOAL)


def _longest(daemon: Daemon, credential: Credential, ask: Path, answer: Path) -> float:
    """Ask for the longest read since the last time, and have something read for it."""
    ask.touch()
    Peer(daemon.port, daemon.relay_id, credential).handshake().close()
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
