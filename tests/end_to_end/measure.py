"""Measured by hand, for it takes minutes: ``python -m tests.end_to_end.measure queued|stopped``.

``queued`` leaves a million messages for somebody who is away, kills the relay, starts it again and
has him fetch them; ``stopped`` sends a gibibyte to a listener whose process is stopped.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import threading
import time
from pathlib import Path

from securerelay.protocol import messages
from tests.end_to_end.relays import Relay, relay_of
from tests.end_to_end.speaker import Speaker
from tests.end_to_end.test_faults import program

STREAM = b"s" * 22
MB = 1_000_000
ROUNDS = 1000
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu(relay: Relay) -> float:
    """Return the CPU seconds that a relay has used."""
    fields = Path(f"/proc/{relay.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def queued(relay: Relay, count: int, size: int) -> None:
    """Fill a mailbox, kill the relay, start it, and empty the mailbox."""
    ann = relay.join("ann")
    ann.say(messages.stream(STREAM, 0))
    begun, used, body, batch = time.monotonic(), cpu(relay), os.urandom(size), 2000
    for first in range(1, count + 1, batch):
        last = min(count, first + batch - 1)
        ann.say(*(messages.send(n, b"ben", None, False, body) for n in range(first, last + 1)))
        ann.wait("ok", last)
        ann.heard.clear()
    tell("queued", count, begun, cpu(relay) - used, relay)
    relay.kill()
    begun = time.monotonic()
    relay.start()
    print(f"serving again after {time.monotonic() - begun:.2f} s")
    ben = relay.join("ben")
    begun, used, most, got = time.monotonic(), cpu(relay), 0, 0
    ben.say(messages.listen(0))
    while got < count:
        ben.receive()
        heard, ben.heard = ben.heard, []
        numbers = [said[1] for said in heard if said[0] == "msg"]
        if numbers:
            got += len(numbers)
            ben.say(messages.ack(numbers[-1]))
            most = max(most, relay.memory())
    tell("fetched", count, begun, cpu(relay) - used, relay)
    print(f"at most {most / MB:.0f} MB; this program itself: {time.process_time():.0f} s of CPU")


def tell(what: str, count: int, begun: float, used: float, relay: Relay) -> None:
    """Print one figure."""
    took = time.monotonic() - begun
    print(
        f"{what} {count}: {count / took:.0f}/s, {used / count * 1e6:.1f} us of the relay's CPU "
        f"each, {relay.memory() / MB:.0f} MB",
        flush=True,
    )


def latency(cat: Speaker, first: int, rounds: int) -> str:
    """Send to oneself, one message after the other."""
    times = []
    for seq in range(first, first + rounds):
        begun = time.perf_counter()
        cat.say(messages.send(seq, b"cat", None, False, b"hello"))
        number, *_ = cat.wait("msg")
        times.append(time.perf_counter() - begun)
        cat.say(messages.ack(number))
        time.sleep(0.002)
    times.sort()
    return f"p50 {times[rounds // 2] * 1e3:.1f} ms, p99 {times[rounds * 99 // 100] * 1e3:.1f} ms"


def stopped(relay: Relay, total: int, size: int) -> None:
    """Send to a listener that runs, and then to one that is stopped; somebody else looks on."""
    with program(relay, "ben") as (ben, heard):
        ann, cat = relay.join("ann"), relay.join("cat")
        cat.say(messages.stream(b"c" * 22, 0), messages.listen(0))
        cat.wait("listen")
        ann.say(messages.stream(STREAM, 0))
        body, seq = bytes(size), 0
        for turn, what in enumerate(("running", "stopped")):
            before = most = relay.memory()
            if what == "stopped":
                os.kill(ben.pid, signal.SIGSTOP)
            told: list[str] = []

            def look(turn: int = turn, told: list[str] = told) -> None:
                told.append(latency(cat, 1 + turn * ROUNDS, ROUNDS))

            looking = threading.Thread(target=look)
            looking.start()
            for _ in range(total // size // 16):
                ann.say(*(messages.send(seq + n, b"ben", None, False, body) for n in range(1, 17)))
                seq += 16
                ann.wait("ok", seq)
                ann.heard.clear()
                most = max(most, relay.memory())
            looking.join()
            print(f"{what}: {told[0]}; memory grew by {(most - before) / MB:.1f} MB", flush=True)
        os.kill(ben.pid, signal.SIGCONT)
        relay.wait(lambda: heard.read_text().count("\n") >= seq, "everything came")
        lines = heard.read_text().splitlines()
        assert lines == [f"{n} {size}" for n in range(1, seq + 1)]
        print("nothing lost, nothing twice, all in order")


def main() -> None:
    """Measure one of the two."""
    parser = argparse.ArgumentParser(prog="python -m tests.end_to_end.measure")
    parser.add_argument("what", choices=("queued", "stopped"))
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--bytes", type=int, default=1 << 30)
    chosen = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(dir="/var/tmp") as folder,
        relay_of(Path(folder), "ann", "ben", "cat") as relay,
    ):
        if chosen.what == "queued":
            queued(relay, chosen.count, 100)
        else:
            stopped(relay, chosen.bytes, 65_536)


if __name__ == "__main__":
    main()
