"""Command line of the benchmarks: ``python -m benchmarks [PATTERN ...] [--json] [--quick]``.

``python -m benchmarks compare`` and ``python -m benchmarks profile`` have options of their own.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import signal
import sys

import cryptography

import twisted
from benchmarks.compare.__main__ import main as compare
from benchmarks.delivery import DELIVERY, delivery
from benchmarks.flood import flood
from benchmarks.growth import growth, peers
from benchmarks.patterns import PATTERNS
from benchmarks.profile import main as profile
from benchmarks.sealing import sealing
from benchmarks.stalls import stalls
from benchmarks.timing import timing

LONG = {
    **DELIVERY,
    "delivery": delivery,
    "flood": flood,
    "growth": growth,
    "crowd": peers,
    "sealing": sealing,
    "stalls": stalls,
    "timing": timing,
}
"""What takes minutes, and so has to be asked for."""


def main() -> None:
    """Run patterns against a real relay and print what they measured."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leaves no relay behind either
    own = {"compare": compare, "profile": profile}.get(" ".join(sys.argv[1:2]))
    if own is not None:
        own(sys.argv[2:])
        return
    known = {**PATTERNS, **LONG}
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument(
        "pattern", nargs="*", help=f"some of {', '.join(known)}; default: {', '.join(PATTERNS)}"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--quick", action="store_true", help="run a tenth of the load")
    chosen = parser.parse_args()
    unknown = set(chosen.pattern) - set(known)
    if unknown:
        parser.error(f"no such pattern: {', '.join(sorted(unknown))}")
    if not chosen.json:
        print(
            f"Python {platform.python_version()}, Twisted {twisted.__version__}, "
            f"cryptography {cryptography.__version__}; CPU is the relay's own"
        )
    for name in chosen.pattern or PATTERNS:
        for figure in known[name](chosen.quick):
            if chosen.json:
                print(json.dumps(dataclasses.asdict(figure)), flush=True)
            else:
                goal = "" if figure.goal is None else f"goal {figure.goal:g}"
                line = f"{figure.name:36} {figure.value:9.2f} {figure.unit:14} {goal}"
                print(line.rstrip(), flush=True)


if __name__ == "__main__":
    main()
