"""A set of sequence numbers that grows upwards: the highest, and the gaps below it."""

from __future__ import annotations

import bisect

MOST_GAPS = 2048
"""Gaps that are remembered; twice the messages that a relay hands over unacknowledged. What lies in
an older gap counts as seen.
"""


class Seqs:
    """The numbers 1 to ``highest`` of a stream, but for the gaps.

    Args:
        highest: the highest number in the set; 0 for none.
        gaps: as :attr:`gaps` writes them.
    """

    __slots__ = ("_ends", "_starts", "highest")

    def __init__(self, highest: int = 0, gaps: str = "") -> None:
        self.highest = highest
        self._starts: list[int] = []
        self._ends: list[int] = []
        for gap in gaps.split():
            start, _, end = gap.partition("-")
            self._starts.append(int(start))
            self._ends.append(int(end or start))

    @property
    def gaps(self) -> str:
        """The numbers below :attr:`highest` that are missing, such as ``1-4 7``."""
        pairs = zip(self._starts, self._ends, strict=True)
        return " ".join(str(a) if a == b else f"{a}-{b}" for a, b in pairs)

    def __contains__(self, seq: int) -> bool:
        return seq <= self.highest and self._gap_of(seq) is None

    def _gap_of(self, seq: int) -> int | None:
        at = bisect.bisect_left(self._ends, seq)
        return at if at < len(self._ends) and self._starts[at] <= seq else None

    def add(self, seq: int) -> None:
        """Put a number in."""
        starts, ends = self._starts, self._ends
        if seq > self.highest:
            if seq > self.highest + 1:
                starts.append(self.highest + 1)
                ends.append(seq - 1)
            self.highest = seq
        elif (at := self._gap_of(seq)) is not None:
            start, end = starts[at], ends[at]
            starts[at : at + 1] = ([start] if start < seq else []) + (
                [seq + 1] if seq < end else []
            )
            ends[at : at + 1] = ([seq - 1] if start < seq else []) + ([end] if seq < end else [])
        if len(starts) > MOST_GAPS:
            del starts[: len(starts) - MOST_GAPS], ends[: len(ends) - MOST_GAPS]
