"""What a comparison says: medians and ratios, as text, JSON, reStructuredText or a drawing."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from benchmarks.compare.patterns import Pattern, Result

_BAR, _LEFT, _WIDTH = 12, 260, 760
_COLOURS = ("#2a6f97", "#9a9a9a", "#c9a227", "#e07a5f")


@dataclass
class Row:
    """One pattern's figures, each broker's in the order measured.

    Attributes:
        name: of the pattern.
        pattern: what was run.
        results: by the brokers' titles.
        failed: why a broker has none, or fewer.
    """

    name: str
    pattern: Pattern
    results: dict[str, list[Result]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def figures(self) -> dict[str, list[float]]:
        """Every figure, by the brokers' titles."""
        return {title: [one.value for one in some] for title, some in self.results.items()}

    def median(self, title: str) -> float | None:
        """Return a broker's figure; None if it did not take part."""
        figures = self.figures.get(title)
        return statistics.median(figures) if figures else None

    def ratio(self, title: str) -> float | None:
        """Return ours in relation to another's; less than 1 is better."""
        ours, other = self.median(self.pattern.brokers[0].title), self.median(title)
        return ours / other if ours is not None and other else None


def machine() -> str:
    """Describe the machine."""
    model = ""
    try:
        with open("/proc/cpuinfo") as info:
            model = next((line.split(":")[1].strip() for line in info if "model name" in line), "")
    except OSError:
        pass
    return f"{model or platform.machine()}, Python {platform.python_version()}"


def head_as_json(versions: dict[str, str]) -> str:
    """Return what is the same for all patterns, in one line."""
    return json.dumps({"machine": machine(), "versions": versions})


def as_json(row: Row) -> str:
    """Return everything that was measured of one pattern, in one line."""
    ours = row.pattern.brokers[0].title
    shares = {
        share: {title: [getattr(one, share) for one in some] for title, some in row.results.items()}
        for share in ("busy", "load")
    }
    return json.dumps(
        {
            "pattern": row.name,
            "title": row.pattern.title,
            "unit": row.pattern.unit,
            "figures": row.figures,
            "median": {title: row.median(title) for title in row.figures},
            "ratio": {title: row.ratio(title) for title in row.figures if title != ours},
            **shares,
            "failed": row.failed,
        }
    )


def _cells(row: Row, titles: Sequence[str]) -> list[str]:
    cells = [f"{row.pattern.title} ({row.pattern.unit})"]
    for title in titles:
        median, ratio = row.median(title), row.ratio(title)
        if median is None:
            cells.append("-")
        elif ratio is None or title == row.pattern.brokers[0].title:
            cells.append(f"{median:.2f}")
        else:
            cells.append(f"{median:.2f} ({ratio:.2f})")
    return cells


def _failures(rows: Sequence[Row]) -> list[str]:
    return [
        f"{row.pattern.title}, {title}: {reason}"
        for row in rows
        for title, reason in row.failed.items()
    ]


def as_text(rows: Sequence[Row], versions: dict[str, str]) -> str:
    """Return a table; in brackets ours in relation to the other's."""
    titles = list(versions)
    lines = [["", *titles], *(_cells(row, titles) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles) + 1)]
    table = [
        "  ".join(
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    about = ", ".join(f"{title} {version}" for title, version in versions.items())
    failures = _failures(rows)
    return "\n".join([about, machine(), "", *table, *([""] if failures else []), *failures])


def as_rst(rows: Sequence[Row], versions: dict[str, str]) -> str:
    """Return the table as it stands in the documentation."""
    titles = list(versions)
    lines = [".. list-table::", "   :header-rows: 1", ""]
    header = ["", *(f"{title} {version}" for title, version in versions.items())]
    for cells in [header, *(_cells(row, titles) for row in rows)]:
        first, *others = cells
        lines += [f"   * - {first}".rstrip(), *(f"     - {cell}" for cell in others)]
    failures = [f"* {failure}" for failure in _failures(rows)]
    lines += ["", *failures, ""] if failures else [""]
    return "\n".join([*lines, f"Measured on {machine()}.", ""])


def as_svg(rows: Sequence[Row], versions: dict[str, str]) -> str:
    """Draw bars, each pattern's longest as long as every other's."""
    colours = dict(zip(versions, _COLOURS, strict=False))
    parts: list[str] = []

    def text(x: float, y: float, said: str, anchor: str = "start") -> None:
        parts.append(f'<text x="{x:.0f}" y="{y}" text-anchor="{anchor}">{escape(said)}</text>')

    def bar(y: int, width: float, colour: str) -> None:
        parts.append(
            f'<rect x="{_LEFT}" y="{y}" width="{width:.0f}" height="{_BAR - 2}" fill="{colour}"/>'
        )

    y = _BAR
    for title, colour in colours.items():
        bar(y, _BAR, colour)
        text(_LEFT + 2 * _BAR, y + _BAR - 3, f"{title} {versions[title]}")
        y += _BAR + 4
    text(_LEFT, y + _BAR - 3, "Shorter is better. Each pattern has a scale of its own.")
    y += _BAR
    for row in rows:
        y += _BAR
        text(_LEFT - 8, y + _BAR, f"{row.pattern.title} ({row.pattern.unit})", "end")
        medians = {title: row.median(title) for title in colours}
        most = max((median for median in medians.values() if median), default=1.0)
        for title, median in medians.items():
            if median is not None:
                width = median / most * (_WIDTH - _LEFT - 60)
                bar(y, width, colours[title])
                text(_LEFT + width + 4, y + _BAR - 3, f"{median:.2f}")
                y += _BAR
    size = f'width="{_WIDTH}" height="{y + 2 * _BAR}" font-family="sans-serif" font-size="10"'
    drawn = "\n".join(parts)
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n{drawn}\n</svg>\n'
