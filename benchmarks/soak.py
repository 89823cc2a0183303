"""A long mixed load: does a relay that runs for a while need more and more?

``python -m benchmarks.soak [MINUTES]`` lets 24 peers come and go, send to those who are here and to
those who are not, live and kept, small and large, and ask who is there.  Each ten seconds it
prints the relay's resident memory, descriptors and Deferreds; they should stay where they are.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import selectors
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from benchmarks.daemon import Daemon
from benchmarks.patterns import new_stream
from benchmarks.peer import Peer
from securerelay.protocol import messages
from securerelay.protocol.connection import ClientTicket, Credential

PEERS = 24
PAUSE = 0.02
SAMPLE = 10.0
SIZES = (16, 128, 128, 1024, 4096, 40_000)

_COUNTS_DEFERREDS = """
import gc, signal, sys
from pathlib import Path
from twisted.internet.defer import Deferred
def count(*_):
    gc.collect()
    found = sum(isinstance(one, Deferred) for one in gc.get_objects())
    Path(sys.argv[0]).write_text(str(found))
signal.signal(signal.SIGUSR1, count)
"""


class Guest:
    """A peer that may be here or not."""

    def __init__(self, daemon: Daemon, name: str, credential: Credential) -> None:
        self.daemon = daemon
        self.name = name.encode("ascii")
        self.credential = credential
        self.ticket: ClientTicket | None = None
        self.peer: Peer | None = None
        self.seen: Counter[str] = Counter()

    def come(self) -> Peer:
        """Connect, with a ticket if there is one, listen and open a stream."""
        daemon = self.daemon
        peer = Peer(daemon.port, daemon.relay_id, self.credential, self.ticket).handshake()
        tickets = peer.greeting.tickets if peer.greeting is not None else ()
        self.ticket = tickets[0] if tickets else None
        self.decoder = messages.client_decoder(self)
        self.seq = self.last = 0
        peer.send(messages.listen(0) + messages.stream(new_stream(), 0))
        self.peer = peer
        self.seen["connections"] += 1
        return peer

    def go(self, orderly: bool) -> None:
        """Leave, with or without a word."""
        if self.peer is not None:
            if orderly:
                self.peer.connection.close("done")
            self.peer.close()
            self.peer = None

    def speak(self, to: bytes, rng: random.Random) -> None:
        """Send some messages."""
        if self.peer is None:
            return
        batch = []
        ttl = rng.choice((None, None, 0, 60))
        for _ in range(rng.choice((1, 1, 5, 20))):
            self.seq += 1
            body = bytes(rng.choice(SIZES))
            batch.append(messages.send(self.seq, to, ttl, rng.random() < 0.2, body))
        self.peer.send(b"".join(batch))
        self.seen["sent"] += len(batch)

    def hear(self) -> None:
        """Take what came and acknowledge it."""
        peer = self.peer
        if peer is None:
            return
        before = self.last
        peer.receive()
        self.decoder.feed(bytes(peer.received))
        peer.received.clear()
        if self.last != before:
            peer.send(messages.ack(self.last))

    # --- what a relay may say ---

    def msg(
        self,
        number: int,
        sender: bytes,
        to: bytes,
        stream: bytes,
        seq: int,
        time: int,
        body: bytes,
    ) -> None:
        """A message came."""
        self.seen["received"] += 1
        self.last = number

    def no(self, seq: int, code: bytes) -> None:
        """A message was refused."""
        self.seen["refused: " + code.decode("ascii")] += 1

    def got(self, seq: int, peer: bytes, time: int) -> None:
        """A message was acknowledged."""
        self.seen["receipts"] += 1

    def reply(self, tag: bytes, status: bytes, body: bytes) -> None:
        """A call was answered."""
        self.seen["calls"] += 1

    def ping(self, token: bytes) -> None:
        """The relay asks whether we are there."""
        if self.peer is not None:
            self.peer.send(messages.pong(token))

    def ok(self, seq: int) -> None:
        """Messages were accepted."""

    def stream(self, stream: bytes, last: int) -> None:
        """The stream is open."""

    def listen(self, first: int, last: int) -> None:
        """The mailbox is served."""

    def stopped(self, reason: bytes) -> None:
        """Somebody else listens."""

    def pong(self, token: bytes) -> None:
        """An answer to a PING."""

    def event(self, kind: bytes, body: bytes) -> None:
        """Something happened."""


def sample(daemon: Daemon, note: Path) -> dict[str, int]:
    """Measure the relay."""
    note.unlink(missing_ok=True)
    os.kill(daemon.pid, signal.SIGUSR1)
    deferreds = -1
    for _ in range(50):
        time.sleep(0.02)
        with contextlib.suppress(OSError, ValueError):
            deferreds = int(note.read_text())
            break
    return {
        "resident_kib": daemon.resident() // 1024,
        "descriptors": len(os.listdir(f"/proc/{daemon.pid}/fd")),
        "deferreds": deferreds,
    }


def soak(minutes: float) -> None:
    """Load a relay for so many minutes, and print what it needs."""
    rng = random.Random(1)  # the same load each time
    note = Path(f"/tmp/securerelay-soak-{os.getpid()}")  # removed at the end
    daemon = Daemon(prelude=_COUNTS_DEFERREDS.replace("sys.argv[0]", repr(str(note))))
    with daemon, selectors.DefaultSelector() as selector:
        guests = [Guest(daemon, *enrolled) for enrolled in daemon.peers(PEERS)]

        def toggle(guest: Guest) -> None:
            if guest.peer is None:
                selector.register(guest.come().socket, selectors.EVENT_READ, guest)
            else:
                selector.unregister(guest.peer.socket)
                guest.go(rng.random() < 0.5)

        for guest in guests[: PEERS * 3 // 4]:
            toggle(guest)
        start = time.monotonic()
        end, sampled = start + minutes * 60, start
        while time.monotonic() < end:
            for key, _ in selector.select(PAUSE):
                key.data.hear()
            rng.choice(guests).speak(rng.choice(guests).name, rng)
            chance = rng.random()
            if chance < 0.02:
                toggle(rng.choice(guests))
            elif chance < 0.1:
                asking = rng.choice(guests).peer
                if asking is not None:
                    asking.send(messages.call(b"1", b"peer.list", b"{}"))
            if time.monotonic() - sampled >= SAMPLE:
                sampled = time.monotonic()
                seconds = round(sampled - start)
                print(json.dumps({"seconds": seconds, **sample(daemon, note)}), flush=True)
        total: Counter[str] = sum((guest.seen for guest in guests), Counter())
        print(json.dumps(dict(total)), flush=True)
        note.unlink(missing_ok=True)
        for guest in guests:
            guest.go(True)


if __name__ == "__main__":
    soak(float(sys.argv[1]) if len(sys.argv) > 1 else 30)
