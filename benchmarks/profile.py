"""Where a relay's time goes under one pattern: ``python -m benchmarks profile PATTERN``.

The relay's reactor thread is watched by :mod:`cProfile`, from the moment when the pattern begins to
measure.  That makes every call dearer, so only shares mean anything.  ``--flame FILE`` has py-spy
look at its stacks from outside instead, and draw them.
"""

from __future__ import annotations

import argparse
import os
import pstats
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks import patterns
from benchmarks.compare import patterns as compared
from benchmarks.compare import relay
from benchmarks.daemon import Daemon
from benchmarks.figure import Figure

_WATCHES = """
import cProfile, signal, time
profile = cProfile.Profile(time.thread_time)
def watch(*_):
    profile.disable()
    profile.dump_stats({path!r})
def begin(*_):
    signal.signal(signal.SIGUSR2, watch)
    profile.enable()
signal.signal(signal.SIGUSR2, begin)
"""
_SECONDS = 10
_SHOWN = 40
_NO_CPU = ("help", "micro", "idle", "idle-5000", "p50", "p99")


class Watched(Daemon):
    """A relay whose time is watched from when a pattern first asks for its CPU time.

    Args:
        options: as for :class:`Daemon`.

    Attributes:
        path: of the file that says where the time went.
    """

    path = ""

    def __init__(self, **options: Any) -> None:
        super().__init__(prelude=self.prelude_of(), **options)
        self._begun = False

    def prelude_of(self) -> str:
        """Return Python that the relay's process begins with."""
        return _WATCHES.format(path=self.path)

    def cpu(self) -> float:
        """See :meth:`Daemon.cpu`; the first time, a pattern begins to measure."""
        if not self._begun:
            self._begun = True
            self.begin()
        return super().cpu()

    def begin(self) -> None:
        """Begin to watch."""
        os.kill(self.pid, signal.SIGUSR2)

    def finish(self) -> None:
        """Have written down where the time went."""
        os.kill(self.pid, signal.SIGUSR2)
        deadline = time.monotonic() + _SECONDS
        while not Path(self.path).exists() and time.monotonic() < deadline:
            time.sleep(0.1)

    def __exit__(self, *reason: Any) -> None:
        """End it."""
        if self._begun:
            self.finish()
        super().__exit__(*reason)


class Sampled(Watched):
    """A relay at whose stacks py-spy looks, from outside and a few hundred times a second."""

    def prelude_of(self) -> str:
        """See :meth:`Watched.prelude_of`."""
        return ""

    def begin(self) -> None:
        """See :meth:`Watched.begin`; returns when py-spy samples."""
        command = [_spy(), "record", "--pid", str(self.pid), "--output", self.path]
        command += ["--format", "flamegraph", "--rate", "250", "--threads", "--function"]
        self._spy = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert self._spy.stdout is not None, "a pipe"
        said = b""
        while b"Sampling" not in said:
            line = self._spy.stdout.readline()
            said += line
            if not line:
                raise SystemExit(f"py-spy: {said.decode(errors='replace').strip()}")

    def finish(self) -> None:
        """See :meth:`Watched.finish`."""
        self._spy.send_signal(signal.SIGINT)
        self._spy.communicate()


def _spy() -> str:
    """Tell where py-spy is."""
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    found = shutil.which("py-spy", path=os.pathsep.join(places))
    if found is None:
        raise SystemExit("a flame graph takes py-spy: pip install py-spy")
    return found


def _relay_alone(pattern: compared.Pattern) -> Callable[[bool], Iterator[Figure]]:
    """Make a pattern of the comparison one of this relay alone."""

    def measure(quick: bool) -> Iterator[Figure]:
        with pattern.brokers[0]() as broker:
            result = pattern.run(broker, 0.1 if quick else 1.0)
        yield Figure(pattern.title, result.value, pattern.unit)

    return measure


def known() -> dict[str, Callable[[bool], Iterator[Figure]]]:
    """Return the patterns that can be profiled: those that measure CPU time of a whole relay."""
    own = {name: one for name, one in patterns.PATTERNS.items() if name not in _NO_CPU}
    others = compared.PATTERNS.items()
    return own | {name: _relay_alone(one) for name, one in others if name not in _NO_CPU}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one pattern and print the relay's functions by the time spent in each."""
    runs = known()
    parser = argparse.ArgumentParser(prog="python -m benchmarks profile", description=main.__doc__)
    parser.add_argument("pattern", choices=runs)
    parser.add_argument("--quick", action="store_true", help="run a tenth of the load")
    parser.add_argument("--save", type=Path, metavar="FILE", help="keep what pstats can read")
    parser.add_argument(
        "--flame",
        type=Path,
        metavar="FILE",
        help="draw a flame graph (SVG) of all threads instead, with py-spy (pip install py-spy)",
    )
    chosen = parser.parse_args(arguments)
    kind = Sampled if chosen.flame else Watched
    if chosen.flame:
        _spy()
    with tempfile.TemporaryDirectory(prefix="securerelay-profile-") as folder:
        kind.path = str(chosen.flame or chosen.save or Path(folder) / "stats")
        with patch.object(patterns, "Daemon", kind), patch.object(relay, "Daemon", kind):
            for figure in runs[chosen.pattern](chosen.quick):
                print(f"{figure.name}: {figure.value:.2f} {figure.unit}, while watched")
        if not chosen.flame:
            pstats.Stats(kind.path).sort_stats("tottime").print_stats(_SHOWN)
