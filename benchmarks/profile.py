"""Where a relay's time goes under one pattern: ``python -m benchmarks profile PATTERN``.

The relay's reactor thread is watched by :mod:`cProfile`, from the moment when the pattern begins to
measure.  That makes every call dearer, so only shares mean anything.
"""

from __future__ import annotations

import argparse
import os
import pstats
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks import patterns
from benchmarks.daemon import Daemon

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


class Watched(Daemon):
    """A relay that writes down where its time went.

    Attributes:
        path: of the file that it writes before it ends.
    """

    path = ""

    def __init__(self) -> None:
        super().__init__(prelude=_WATCHES.format(path=self.path))
        self._begun = False

    def cpu(self) -> float:
        """See :meth:`Daemon.cpu`; the first time, a pattern begins to measure."""
        if not self._begun:
            self._begun = True
            os.kill(self.pid, signal.SIGUSR2)
        return super().cpu()

    def __exit__(self, *reason: Any) -> None:
        """End it, once it has written down where its time went."""
        os.kill(self.pid, signal.SIGUSR2)
        deadline = time.monotonic() + _SECONDS
        while not Path(self.path).exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        super().__exit__(*reason)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one pattern and print the relay's functions by the time spent in each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks profile", description=main.__doc__)
    known = [name for name in patterns.PATTERNS if name not in ("help", "idle")]
    parser.add_argument("pattern", choices=known)
    parser.add_argument("--quick", action="store_true", help="run a tenth of the load")
    parser.add_argument("--save", type=Path, metavar="FILE", help="keep what pstats can read")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="securerelay-profile-") as folder:
        Watched.path = str(chosen.save or Path(folder) / "stats")
        with patch.object(patterns, "Daemon", Watched):
            for figure in patterns.PATTERNS[chosen.pattern](chosen.quick):
                print(f"{figure.name}: {figure.value:.2f} {figure.unit}, while watched")
        pstats.Stats(Watched.path).sort_stats("tottime").print_stats(_SHOWN)
