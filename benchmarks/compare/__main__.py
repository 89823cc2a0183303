"""Command line: ``python -m benchmarks compare [PATTERN ...]``."""

from __future__ import annotations

import argparse
import resource
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.compare import report
from benchmarks.compare.broker import Broker, Unsupported
from benchmarks.compare.patterns import PATTERNS


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the same load on this relay, Mosquitto and NATS in turn; print medians and ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks compare", description=main.__doc__)
    usual = [name for name, pattern in PATTERNS.items() if not pattern.rare]
    parser.add_argument(
        "pattern",
        nargs="*",
        help=f"some of {', '.join(PATTERNS)}; default: {', '.join(usual)}",
    )
    parser.add_argument("--runs", type=int, default=3, help="runs of each, in turn; default: 3")
    parser.add_argument("--quick", action="store_true", help="one run of a tenth of the load")
    parser.add_argument(
        "--limit",
        type=int,
        default=1200,
        metavar="SECONDS",
        help="after which a run is given up; default: 1200",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--rst", action="store_true", help="print the table as reStructuredText")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw bars into an SVG file")
    chosen = parser.parse_args(arguments)
    unknown = set(chosen.pattern) - set(PATTERNS)
    if unknown:
        parser.error(f"no such pattern: {', '.join(sorted(unknown))}")
    rows = [report.Row(name, PATTERNS[name]) for name in chosen.pattern or usual]
    kinds: dict[type[Broker], None] = {kind: None for row in rows for kind in row.pattern.brokers}
    missing = [kind for kind in kinds if kind.found() is None]
    for kind in missing:
        print(f"{kind.title} is left out: {kind.program} is not installed", file=sys.stderr)
    versions = {kind.title: kind.version() for kind in kinds if kind not in missing}
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leaves no server behind either
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if chosen.json:
        print(report.head_as_json(versions), flush=True)
    done: list[report.Row] = []
    try:
        for row in rows:
            done.append(row)
            for number in range(1 if chosen.quick else chosen.runs):
                for kind in row.pattern.brokers:
                    if kind not in missing:
                        said = _run(row, kind, 0.1 if chosen.quick else 1.0, chosen.limit)
                        print(f"{row.name} {number + 1}: {said}", file=sys.stderr, flush=True)
            if chosen.json:
                print(report.as_json(row), flush=True)
    finally:  # whatever happens, what was measured is not lost
        if not chosen.json:
            print((report.as_rst if chosen.rst else report.as_text)(done, versions))
        if chosen.plot:
            chosen.plot.write_text(report.as_svg(done, versions))


def _run(row: report.Row, kind: type[Broker], part: float, limit: int) -> str:
    """Run a pattern once on one broker, and note what came of it; returns that in a line."""
    try:
        with _within(limit), kind() as broker:
            result = row.pattern.run(broker, part)
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        row.failed[kind.title] = (
            text if isinstance(error, (Unsupported, SystemExit)) else f"failed: {text}"
        )
        return f"{kind.title} {row.failed[kind.title]}"
    row.results.setdefault(kind.title, []).append(result)
    said = f"{kind.title} {result.value:.2f} {row.pattern.unit}"
    if result.busy is not None and result.load is not None:
        said += f" (a core: server {result.busy:.0%}, load generator {result.load:.0%})"
    return said


@contextmanager
def _within(seconds: int) -> Iterator[None]:
    """End with an error what takes longer."""

    def over(*_: object) -> None:
        raise TimeoutError(f"took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


if __name__ == "__main__":
    main()
