"""What a comparison says: medians and ratios, as text, JSON, reStructuredText or a drawing."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from benchmarks.compare.patterns import Pattern

_BAR, _LEFT, _WIDTH = 12, 260, 760
_COLOURS = ("#2a6f97", "#9a9a9a", "#c9a227", "#e07a5f")


@dataclass
class Row:
    """One pattern's figures, each broker's in the order measured.

    Attributes:
        name: of the pattern.
        pattern: what was run.
        figures: by the brokers' titles, ours first.
    """

    name: str
    pattern: Pattern
    figures: dict[str, list[float]] = field(default_factory=dict)

    def median(self, title: str) -> float | None:
        """Return a broker's figure; None if it did not take part."""
        figures = self.figures.get(title)
        return statistics.median(figures) if figures else None

    def ratio(self, title: str) -> float | None:
        """Return ours in relation to another's; less than 1 is better."""
        ours, other = self.median(next(iter(self.figures))), self.median(title)
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


def as_json(rows: Sequence[Row], versions: dict[str, str]) -> str:
    """Return everything that was measured."""
    return json.dumps(
        {
            "machine": machine(),
            "versions": versions,
            "patterns": [
                {
                    "name": row.name,
                    "title": row.pattern.title,
                    "unit": row.pattern.unit,
                    "figures": row.figures,
                    "median": {title: row.median(title) for title in row.figures},
                    "ratio": {title: row.ratio(title) for title in list(row.figures)[1:]},
                }
                for row in rows
            ],
        },
        indent=1,
    )


def _cells(row: Row, titles: Sequence[str]) -> list[str]:
    cells = [f"{row.pattern.title} ({row.pattern.unit})"]
    for title in titles:
        median, ratio = row.median(title), row.ratio(title)
        if median is None:
            cells.append("-")
        elif title == titles[0]:
            cells.append(f"{median:.2f}")
        else:
            cells.append(f"{median:.2f} ({ratio:.2f})")
    return cells


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
    return "\n".join([about, machine(), "", *table])


def as_rst(rows: Sequence[Row], versions: dict[str, str]) -> str:
    """Return the table as it stands in the documentation."""
    titles = list(versions)
    lines = [".. list-table::", "   :header-rows: 1", ""]
    header = ["", *(f"{title} {version}" for title, version in versions.items())]
    for cells in [header, *(_cells(row, titles) for row in rows)]:
        first, *others = cells
        lines += [f"   * - {first}".rstrip(), *(f"     - {cell}" for cell in others)]
    return "\n".join([*lines, "", f"Measured on {machine()}.", ""])


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
    for row in rows:
        y += _BAR
        text(_LEFT - 8, y + _BAR, f"{row.pattern.title} ({row.pattern.unit})", "end")
        medians = {title: row.median(title) for title in colours}
        most = max(median for median in medians.values() if median is not None)
        for title, median in medians.items():
            if median is not None:
                width = median / most * (_WIDTH - _LEFT - 60)
                bar(y, width, colours[title])
                text(_LEFT + width + 4, y + _BAR - 3, f"{median:.2f}")
                y += _BAR
    size = f'width="{_WIDTH}" height="{y + 2 * _BAR}" font-family="sans-serif" font-size="10"'
    drawn = "\n".join(parts)
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n{drawn}\n</svg>\n'
