"""What a benchmark says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured figure, with the goal it is held against if there is one."""

    name: str
    value: float
    unit: str
    goal: float | None = None
