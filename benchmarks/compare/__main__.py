"""Command line: ``python -m benchmarks compare [PATTERN ...]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.compare import report
from benchmarks.compare.broker import Broker
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
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
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
    for row in rows:
        for number in range(1 if chosen.quick else chosen.runs):
            for kind in row.pattern.brokers:
                if kind not in missing:
                    with kind() as broker:
                        figure = row.pattern.run(broker, 0.1 if chosen.quick else 1.0)
                    row.figures.setdefault(kind.title, []).append(figure)
                    said = f"{row.name} {number + 1}: {kind.title} {figure:.2f} {row.pattern.unit}"
                    print(said, file=sys.stderr, flush=True)
    if chosen.json:
        print(report.as_json(rows, versions))
    elif chosen.rst:
        print(report.as_rst(rows, versions))
    else:
        print(report.as_text(rows, versions))
    if chosen.plot:
        chosen.plot.write_text(report.as_svg(rows, versions))


if __name__ == "__main__":
    main()
