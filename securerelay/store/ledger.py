"""What the writer remembers between transactions, so that it need not look it up.

Nobody else writes, so what is remembered is what the database says; after a rollback it is looked
up again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from securerelay.store.interface import MAX_REFUSALS

_MOST_STREAMS = 16384
"""How many streams are remembered before all are forgotten."""

Key = tuple[str, str]


class Position:
    """Where one stream stands.

    Attributes:
        last: the last consumed seq.
        used: when it was used, Unix ms.
        refusals: how many refusals it has, -1 if that must be counted.
        moved: True if the row must be written.
        refused: the refusals made since the row was written.
    """

    __slots__ = ("last", "moved", "refusals", "refused", "used")

    def __init__(self, last: int, used: int) -> None:
        self.last = last
        self.used = used
        self.refusals = -1
        self.moved = False
        self.refused: dict[int, str] = {}


class Ledger:
    """Numbers of mailboxes, ids of messages, positions of streams."""

    def __init__(self) -> None:
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Start with nothing; numbers in mailboxes begin above ``epoch << 32``."""
        self._floor = epoch << 32
        self._highest: dict[str, int] = {}
        self._fresh: dict[str, int] = {}
        self._message: int | None = None
        self._streams: dict[Key, Position] = {}

    def rise(self, recipients: Sequence[tuple[str, int]], count: int) -> bool:
        """Take so many numbers in each mailbox, up to those given, unless one does not rise."""
        fresh, highest, floor = self._fresh, self._highest, self._floor
        for peer, n in recipients:
            if n - count < (fresh.get(peer) or highest.get(peer, floor)):
                return False
        fresh.update(recipients)
        return True

    def next_message(self, db: sqlite3.Connection) -> int:
        """Take the next id for a message."""
        if self._message is None:
            (self._message,) = db.execute("SELECT coalesce(max(id), 0) FROM message").fetchone()
        self._message += 1
        return self._message

    def stream(self, db: sqlite3.Connection, key: Key) -> Position | None:
        """Tell where a stream stands; None if there is none."""
        found = self._streams.get(key)
        if found is None:
            query = "SELECT last, used FROM stream WHERE sender = ? AND stream = ?"
            row = db.execute(query, key).fetchone()
            if row is not None:
                found = self._streams[key] = Position(*row)
        return found

    def refusal(self, db: sqlite3.Connection, key: Key, seq: int) -> str | None:
        """Tell the code with which a consumed seq was refused, None if it was not."""
        place = self._streams.get(key)
        if place is not None and seq in place.refused:
            return place.refused[seq]
        query = "SELECT code FROM refusal WHERE sender = ? AND stream = ? AND seq = ?"
        row = db.execute(query, (*key, seq)).fetchone()
        return None if row is None else str(row[0])

    def refuse(
        self, db: sqlite3.Connection, key: Key, place: Position, seq: int, code: str
    ) -> bool:
        """Remember a refusal, unless the stream has too many."""
        if place.refusals < 0:
            query = "SELECT count(*) FROM refusal WHERE sender = ? AND stream = ?"
            (place.refusals,) = db.execute(query, key).fetchone()
        if place.refusals >= MAX_REFUSALS:
            return False
        place.refusals += 1
        place.refused[seq] = code
        return True

    def forget_streams(self) -> None:
        """Look streams up again; for whoever changes their rows directly."""
        self._streams.clear()

    def forget_stream(self, key: Key) -> None:
        """Look one stream up again."""
        self._streams.pop(key, None)

    def settle(self, committed: bool) -> None:
        """Keep what a transaction took, or give it back."""
        if committed:
            self._highest.update(self._fresh)
        else:
            self._message = None
        if not committed or len(self._streams) > _MOST_STREAMS:
            self._streams.clear()
        self._fresh.clear()
