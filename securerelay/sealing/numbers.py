"""Indices: how a receiver knows what is missing, late or came twice, and what a sender tells.

The relay numbers a stream as a whole, so a recipient of some of it could not see a gap.  The
sender therefore counts for each recipient, and signs the count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from securerelay.sealing.plaintext import MAX_HEADS, MAX_SKIPPED, Content
from securerelay.sealing.verdicts import Rejected, Verdict

MOST_MISSING = 4096
"""Missing indices that a receiver remembers of one stream."""
KEPT = 60 * 86_400_000
"""Milliseconds for which a receiver keeps what it accepted, longer than any key opens."""
HEADS_LIFE = 30 * 86_400_000
"""Milliseconds after which a sender no longer tells of a stream: half of what receivers keep."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """What an index says.

    Args:
        missing: how many indices are missing now that were not before.
        late: whether this one had been missing.
    """

    missing: int = 0
    late: bool = False


@dataclass(frozen=True, slots=True)
class Ledger:
    """A receiver's account of one sender's stream to one recipient.

    Args:
        highest: the highest index accounted for.
        missing: indices below it that did not come, ascending, at most 4,096.
        forgotten: up to here a missing index may be forgotten, and no second one is noticed.
    """

    highest: int = 0
    missing: tuple[int, ...] = ()
    forgotten: int = 0

    @classmethod
    def joined(cls, index: int) -> Ledger:
        """Return the account of a room's newcomer, which begins before the first index it met."""
        return cls(max(index - 1, 0), (), max(index - 1, 0))

    def arrive(self, index: int, skipped: Iterable[int] = ()) -> tuple[Ledger, Arrival]:
        """Account for a message that was verified.

        Args:
            index: its index; 0 is not counted.
            skipped: indices that it tells were finally refused, and never come.

        Raises:
            Rejected: ``altered`` if another message had this index.
        """
        passed = frozenset(skipped)
        if index > self.highest:
            return self._advance(index, passed | {index})
        ledger = self._without(passed)
        if index == 0:
            return ledger, Arrival()
        if index in self.missing:
            return ledger._without({index}), Arrival(late=True)
        if index <= self.forgotten:
            return ledger, Arrival(late=True)
        raise Rejected(Verdict.ALTERED, f"index {index} was another message's")

    def settle(self, index: int) -> tuple[Ledger, Arrival]:
        """Account for an index whose message came in another one's place (``replaces``)."""
        if index > self.highest:
            return self._advance(index, frozenset({index}))
        return self._without({index}), Arrival(late=index in self.missing)

    def told(self, last: int) -> tuple[Ledger, Arrival]:
        """Account for what another message told: that so many were accepted (``heads``)."""
        return self._advance(last, frozenset()) if last > self.highest else (self, Arrival())

    def _advance(self, to: int, there: frozenset[int]) -> tuple[Ledger, Arrival]:
        """Go on to an index; those before it are missing unless they are there."""
        start = self.highest + 1
        if to == start and to in there:  # the usual case, whatever is missing from before
            return replace(self._without(there), highest=to), Arrival()
        gap = to + 1 - start - sum(start <= one <= to for one in there)
        known = max(start, to + 1 - MOST_MISSING - len(there))
        missing = (
            *(one for one in self.missing if one not in there),
            *(one for one in range(known, to + 1) if one not in there),
        )
        forgotten = self.forgotten if known == start else known - 1
        if len(missing) > MOST_MISSING:
            forgotten = max(forgotten, missing[-MOST_MISSING - 1])
        kept = tuple(one for one in missing[-MOST_MISSING:] if one > forgotten)
        return Ledger(to, kept, forgotten), Arrival(missing=gap)

    def _without(self, indices: Iterable[int]) -> Ledger:
        # Most often none is that low, and what is missing need not be looked through.
        gone = frozenset(one for one in indices if one <= self.highest)
        if not gone or gone.isdisjoint(self.missing):
            return self
        return replace(self, missing=tuple(one for one in self.missing if one not in gone))


def settles(content: Content) -> tuple[tuple[bytes, int], ...]:
    """Return what counts as accepted with a message: stream and seq of itself and what it replaces.

    It is dropped silently if any of them was accepted before, so that a relay which said no and
    delivered all the same makes no double.
    """
    own = (content.stream, content.seq)
    other = content.replaces
    return (own,) if other is None else (own, (other.stream, other.seq))


def is_double(content: Content, accepted: Callable[[bytes, int], bool]) -> bool:
    """Tell whether a verified message came before, itself or as the one that it replaces.

    Args:
        content: verified.
        accepted: tells whether this sender's stream (16 bytes) and seq were accepted before.
    """
    return any(accepted(stream, seq) for stream, seq in settles(content))


@dataclass(frozen=True, slots=True)
class Course:
    """A sender's account of one stream to one recipient.

    Args:
        last: the last index given out.
        skipped: indices finally refused, ascending; each message tells all of them.
    """

    last: int = 0
    skipped: tuple[int, ...] = ()

    def next(self) -> Course:
        """Return the account with one more index given out, its :attr:`last`."""
        return replace(self, last=self.last + 1)

    def refuse(self, index: int) -> Course:
        """Note that an index was finally refused."""
        return replace(self, skipped=tuple(sorted({*self.skipped, index})))

    @property
    def full(self) -> bool:
        """Whether more was refused than a message can tell, so that a new stream is needed."""
        return len(self.skipped) > MAX_SKIPPED


@dataclass(frozen=True, slots=True)
class Head:
    """Another stream of the same profile to the same recipient.

    Args:
        stream: 16 bytes.
        used: when something was last sent in it, Unix ms.
        last: the last index with an OK.
    """

    stream: bytes
    used: int
    last: int


def heads(others: Iterable[Head], now: int) -> tuple[tuple[bytes, int], ...]:
    """Return what the first message of a stream tells of the others, newest first.

    Args:
        others: all that are known.
        now: Unix ms.
    """
    told = [one for one in others if one.last > 0 and now - one.used < HEADS_LIFE]
    told.sort(key=lambda one: (-one.used, one.stream))
    return tuple((one.stream, one.last) for one in told[:MAX_HEADS])
