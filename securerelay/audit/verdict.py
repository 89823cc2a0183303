"""What an audit found: grades with their reasons, and the worst of them as the verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

GRADES = ("A", "B", "C", "D", "F")
"""From best to worst:

A as it should be; B look at it some time; C weaker than need be; D weak; F not safe, or not the
relay that was meant.
"""
UNCHECKED = "-"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: a word for programs, the same in every release.
        grade: one of :data:`GRADES`, or :data:`UNCHECKED`.
        reason: a sentence; it may hold what the relay said, and must be escaped before it is shown.
        facts: numbers and lists behind it, for programs.
    """

    check: str
    grade: str
    reason: str
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Verdict:
    """All that was found about one relay.

    Attributes:
        findings: in the order in which they were made.
        stopped: why the audit ended before its end; empty if it did not.
    """

    findings: list[Finding] = field(default_factory=list)
    stopped: str = ""

    @property
    def grade(self) -> str:
        """The worst grade given, or :data:`UNCHECKED` if none was."""
        given = [one.grade for one in self.findings if one.grade in GRADES]
        return max(given, key=GRADES.index, default=UNCHECKED)

    def add(self, check: str, grade: str, reason: str, **facts: Any) -> None:
        """Note what was found."""
        self.findings.append(Finding(check, grade, reason, facts))
