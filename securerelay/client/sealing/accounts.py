"""What came of others' indices, so that it shows when something is missing.

There is an account for each stream to each recipient.  It is kept twice: here as messages are
shown, on disk as they are dealt with; what was shown and not dealt with comes again after a crash.
"""

from __future__ import annotations

import base64
import functools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from securerelay.client.journal import Journal
from securerelay.client.state import State
from securerelay.sealing.numbers import Arrival, Ledger
from securerelay.sealing.plaintext import Content
from securerelay.sealing.verdicts import Rejected

MOST = 4096
"""Accounts kept in memory."""
MOST_MISSING = 1 << 18
"""Missing indices in all of them; whoever leaves gaps on purpose gets no more memory than that."""
MOST_OF_ONE = 4096
"""Accounts of one sender that are kept on disk; those that were used last. A message makes up to
ten, as it likes.
"""

Key = tuple[str, str, str]
"""Whose (a fingerprint in hexadecimal), which stream (base64url), to whom."""
Find = Callable[[Key], "Ledger | None"]
_Step = Callable[[Ledger], "tuple[Ledger, Arrival]"]


def stream_name(stream: bytes) -> str:
    """Return a stream's id as it is in SEND and MSG: base64url of the 16 bytes."""
    return base64.urlsafe_b64encode(stream).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class Counted:
    """What a verified message says of indices.

    Args:
        fp: its sender's fingerprint.
        content: what was signed.
    """

    fp: bytes
    content: Content

    def steps(self) -> Iterator[tuple[Key, _Step]]:
        """Yield what to do in which account, and in this order."""
        content, fp = self.content, self.fp.hex()
        place = content.replaces
        if place is not None and place.index:
            index = place.index
            yield (fp, stream_name(place.stream), content.to), lambda one: one.settle(index)
        own = (fp, stream_name(content.stream), content.to)
        yield own, lambda ledger: ledger.arrive(content.index, content.skipped)
        for stream, last in content.heads:
            yield (fp, stream_name(stream), content.to), functools.partial(_told, last)

    def begin(self, key: Key, find: Find) -> Ledger:
        """Return an account that begins with this message.

        Who came to a room later does not miss what was said there before. So there it counts only
        from the first that came; and of a stream that is told of, only if an older one is known.

        Args:
            key: whose account.
            find: returns others.
        """
        content, place = self.content, self.content.replaces
        if not content.to.startswith("@"):
            return Ledger()
        told = [(stream_name(stream), last) for stream, last in content.heads]
        for nth, (stream, last) in enumerate(told):
            if stream == key[1]:
                older = [find((key[0], other, key[2])) for other, _ in told[nth + 1 :]]
                if any(one is not None and not one.forgotten for one in older):
                    return Ledger()
                return Ledger.joined(last if any(older) else last + 1)
        other = place is not None and stream_name(place.stream) == key[1]
        return Ledger.joined(place.index if place is not None and other else content.index)


@dataclass(frozen=True, slots=True)
class News:
    """What a message says of others.

    Args:
        gaps: how many are missing now that were not before, by stream.
        late: whether it had been missing itself.
    """

    gaps: dict[str, int]
    late: bool = False


class Accounts:
    """The accounts of one profile, in memory.

    Args:
        journal: where they are on disk.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._ledgers: OrderedDict[Key, Ledger | None] = OrderedDict()
        self._shown: dict[int, Counted] = {}

    async def look_up(self, counted: Counted) -> None:
        """Bring the accounts of a message into memory."""
        missing = []
        for key, _ in counted.steps():
            if key in self._ledgers:
                self._ledgers.move_to_end(key)
            else:
                missing.append(key)
        if not missing:
            return
        found = await self._journal.do(
            lambda state: [load(state, key) for key in missing], write=False
        )
        self._ledgers.update(zip(missing, found, strict=True))
        for one in self._shown.values():
            for key, step in one.steps():
                if key in missing:
                    self._ledgers[key], _ = _step(self._of(key, one), step)
        self._make_room()

    def _make_room(self) -> None:
        missing = sum(len(one.missing) for one in self._ledgers.values() if one is not None)
        while len(self._ledgers) > MOST or missing > MOST_MISSING:
            _, gone = self._ledgers.popitem(last=False)
            missing -= len(gone.missing) if gone is not None else 0

    def _of(self, key: Key, counted: Counted) -> Ledger:
        return self._ledgers.get(key) or counted.begin(key, self._ledgers.get)

    def arrive(self, n: int, counted: Counted) -> News:
        """Account for a message that was verified and will be shown.

        Args:
            n: names it until it is dealt with.
            counted: looked up just before.

        Raises:
            Rejected: ``altered`` if another message had its index.
        """
        gaps, late = dict[str, int](), False
        for key, step in counted.steps():
            self._ledgers[key], arrival = step(self._of(key, counted))
            if arrival.missing:
                gaps[key[1]] = gaps.get(key[1], 0) + arrival.missing
            late = late or arrival.late
        self._shown[n] = counted
        if gaps:
            self._make_room()
        return News(gaps, late)

    def dealt(self, n: int) -> Counted | None:
        """Return what a message that is dealt with said, to be kept with :func:`keep`."""
        return self._shown.pop(n, None)

    def refresh(self) -> None:
        """Look at the disk again: other processes may have accounted for messages meanwhile."""
        self._ledgers.clear()


def load(state: State, key: Key) -> Ledger | None:
    """Read an account; None if there is none."""
    row = state.db.execute(
        "SELECT highest, missing, forgotten FROM account "
        "WHERE fp = ? AND stream = ? AND recipient = ?",
        key,
    ).fetchone()
    if row is None:
        return None
    highest, missing, forgotten = row
    return Ledger(highest, tuple(_numbers(missing)), forgotten)


def keep(state: State, dealt: Iterable[Counted], now: int) -> None:
    """Account on disk for messages that were dealt with.

    Args:
        state: of the transaction.
        dealt: what they said, in the order in which they were dealt with.
        now: Unix ms.
    """
    ledgers: dict[Key, Ledger] = {}

    def find(key: Key) -> Ledger | None:
        return ledgers.get(key) or load(state, key)

    begun: set[str] = set()
    for counted in dealt:
        for key, step in counted.steps():
            ledger = find(key)
            if ledger is None:
                begun.add(key[0])
            ledgers[key], _ = _step(ledger or counted.begin(key, find), step)
    state.db.executemany(
        "INSERT OR REPLACE INTO account VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (*key, ledger.highest, _ranges(ledger.missing), ledger.forgotten, now)
            for key, ledger in ledgers.items()
        ],
    )
    for fp in begun:
        _make_room(state, fp)


def _make_room(state: State, fp: str) -> None:
    (count,) = state.db.execute("SELECT count(*) FROM account WHERE fp = ?", (fp,)).fetchone()
    if count > MOST_OF_ONE:
        state.db.execute(
            "DELETE FROM account WHERE fp = ?1 AND (stream, recipient) IN (SELECT stream, "
            "recipient FROM account WHERE fp = ?1 ORDER BY used DESC LIMIT -1 OFFSET ?2)",
            (fp, MOST_OF_ONE * 3 // 4),
        )


def excuse(state: State, sender: str, to: str, gaps: dict[str, int], but: int) -> int:
    """Return how many missing messages came, and wait unopened; each of these excuses one.

    Args:
        state: of the transaction.
        sender: the peer.
        to: ourselves, or the room.
        gaps: how many are missing, by stream.
        but: the row of one that is being opened now.
    """
    return sum(
        state.db.execute(
            "UPDATE unopened SET counted = 1 WHERE id IN (SELECT id FROM unopened WHERE "
            "sender = ? AND recipient = ? AND stream = ? AND id != ? AND counted = 0 LIMIT ?)",
            (sender, to, stream, but, missing),
        ).rowcount
        for stream, missing in gaps.items()
    )


def _told(last: int, ledger: Ledger) -> tuple[Ledger, Arrival]:
    return ledger.told(last)


def _step(ledger: Ledger, step: _Step) -> tuple[Ledger, Arrival]:
    try:
        return step(ledger)
    except Rejected:
        # Another process accounted for it already.
        return ledger, Arrival()


def _ranges(numbers: tuple[int, ...]) -> str:
    """Write ascending numbers as ranges, such as ``1-4 7``."""
    parts: list[str] = []
    start = end = None
    for one in (*numbers, None):
        if end is not None and one == end + 1:
            end = one
            continue
        if start is not None:
            parts.append(str(start) if start == end else f"{start}-{end}")
        start = end = one
    return " ".join(parts)


def _numbers(ranges: str) -> Iterator[int]:
    for part in ranges.split():
        start, _, end = part.partition("-")
        yield from range(int(start), int(end or start) + 1)
