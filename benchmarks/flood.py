"""Strangers in crowds against a relay with limits as shipped: does an enrolled peer get through?

The crowd is a process of its own, ``python -m benchmarks.flood KIND PORT SECONDS``, whose
connections come from many loopback addresses. On a machine with few cores it takes its part of the
processor from the relay, so times that were measured there are worse than they would be.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator

from benchmarks.daemon import Daemon
from benchmarks.figure import Figure
from benchmarks.peer import Peer
from securerelay.protocol import hello
from securerelay.protocol.connection import Credential

CONFIGURATION = """
data = "{data}"
listen = ["tcp:{port}:interface=127.0.0.1"]
"""
"""Nothing else: the limits are those that users have."""

HELD = 512
RATE = 500
HELLOS = 5000


def shipped() -> Daemon:
    """Return a relay with the limits that it is shipped with."""
    return Daemon(configuration=CONFIGURATION)


# --- the crowd ---


def _stranger(port: int, number: int) -> socket.socket | None:
    """Begin to connect from an address that is this stranger's own."""
    made = socket.socket()
    made.setblocking(False)
    made.bind((f"127.{2 + number // 62_500 % 200}.{number // 250 % 250}.{1 + number % 250}", 0))
    try:
        made.connect_ex(("127.0.0.1", port))
    except OSError:
        made.close()
        return None
    return made


def hold(port: int, seconds: float) -> None:
    """Keep many connections open and make new ones all the time; each says half a line."""
    crowd: deque[socket.socket] = deque()
    begun, number = time.monotonic(), 0
    while time.monotonic() - begun < seconds:
        while number < HELD + (time.monotonic() - begun) * RATE:
            number += 1
            made = _stranger(port, number)
            if made is not None:
                crowd.append(made)
        for made in list(crowd)[-20:]:
            with contextlib.suppress(OSError):
                made.send(b"SR1 HELLO suites=")
        # Those that the relay closed have been replaced by the new ones.
        while len(crowd) > 4 * HELD:
            crowd.popleft().close()
        time.sleep(0.01)


def greet(port: int, seconds: float) -> None:
    """Say a whole first line without the knock, as often as wanted; count whom the relay ended."""
    share = bytes(1216)
    key = hello.knock_key(bytes(32))
    suites, groups = ("aes256gcm",), ("x25519mlkem768",)
    line = hello.write_client_hello(key, suites, groups, bytes(32), groups[0], share, None) + b"\n"
    waiting, number, ended = selectors.DefaultSelector(), 0, 0
    begun = time.monotonic()
    open_ = 0
    while time.monotonic() - begun < seconds:
        while open_ < 200 and number < (time.monotonic() - begun) * HELLOS:
            number += 1
            made = _stranger(port, number)
            if made is not None:
                waiting.register(made, selectors.EVENT_WRITE)
                open_ += 1
        for ready, events in waiting.select(0.01):
            wire = ready.fileobj
            assert isinstance(wire, socket.socket)
            try:
                if events & selectors.EVENT_WRITE:
                    wire.send(line)
                    waiting.modify(wire, selectors.EVENT_READ)
                    continue
                wire.recv(100)
            except OSError:
                pass  # without a word
            ended += 1
            waiting.unregister(wire)
            wire.close()
            open_ -= 1
    print(ended, time.monotonic() - begun)


def _crowd(kind: str, port: int, seconds: float) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "benchmarks.flood", kind, str(port), str(seconds)]
    return subprocess.Popen(words, stdout=subprocess.PIPE)


# --- the figures ---


def _enter(daemon: Daemon, credential: Credential) -> float:
    """Handshake, again if chance dropped it; return the seconds to WELCOME, tries included."""
    begun = time.monotonic()
    while True:
        try:
            peer = Peer(daemon.port, daemon.relay_id, credential)
            peer.socket.settimeout(5)
            peer.handshake().close()
            return time.monotonic() - begun
        except (OSError, SystemExit):
            time.sleep(0.005)


def held(quick: bool) -> Iterator[Figure]:
    """An enrolled peer among 512 connections that are held and 500 new ones a second."""
    with shipped() as daemon:
        credential = daemon.enrol("alice")
        alone = [_enter(daemon, credential) for _ in range(20)]
        before = daemon.resident()
        seconds = 6.0 if quick else 20.0
        crowd = _crowd("hold", daemon.port, seconds + 1)
        time.sleep(1)
        used, taken, most = daemon.cpu(), [], 0
        begun = time.monotonic()
        while time.monotonic() - begun < seconds - 1:
            taken.append(_enter(daemon, credential))
            status = daemon.admin("status")
            most = max(most, daemon.resident() - before)
            time.sleep(0.02)
        share = (daemon.cpu() - used) / (time.monotonic() - begun)
        crowd.wait()
        taken.sort()
        yield Figure("handshake alone, median", statistics.median(alone) * 1000, "ms")
        yield Figure("handshake in the crowd, median", statistics.median(taken) * 1000, "ms")
        yield Figure("handshake in the crowd, p99", taken[int(len(taken) * 0.99)] * 1000, "ms", 250)
        yield Figure("the relay's processor meanwhile", share * 100, "% of a core")
        yield Figure("strangers at the end", status["unauthenticated"], "connections", HELD)
        yield Figure("memory for all of them", most / (1 << 20), "MiB", 16)
        yield Figure("memory for one", most / 1024 / max(1, status["unauthenticated"]), "KiB", 16)


def hellos(quick: bool) -> Iterator[Figure]:
    """What first lines without a knock cost."""
    with shipped() as daemon:
        used = daemon.cpu()
        crowd = _crowd("greet", daemon.port, 3 if quick else 10)
        said, _ = crowd.communicate()
        ended, seconds = map(float, said.split())
        each = (daemon.cpu() - used) / max(1.0, ended)
        yield Figure("first lines without a knock", ended / seconds, "a second", HELLOS)
        yield Figure("processor for each", each * 1e6, "us")
        yield Figure(f"processor for {HELLOS} a second", each * HELLOS * 100, "% of a core", 15)


def flood(quick: bool) -> Iterator[Figure]:
    """Both."""
    yield from held(quick)
    yield from hellos(quick)


if __name__ == "__main__":
    os.nice(5)
    {"hold": hold, "greet": greet}[sys.argv[1]](int(sys.argv[2]), float(sys.argv[3]))
