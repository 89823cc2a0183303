"""What a listener was handed and has not acknowledged, bounded in messages and in bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from securerelay.relay.entry import TAKEN, Entry, Run

if TYPE_CHECKING:
    from securerelay.relay.peer import Peer


class Window:
    """One listener's window; nobody's, and without room, until it is opened.

    Attributes:
        slots: how many more messages may be handed over.
        room: how many more bytes; the last message may overhang.
    """

    __slots__ = ("_handed", "room", "slots")

    def __init__(self) -> None:
        # The number of the last message in it, what it is, how many messages, how many bytes.
        self._handed: deque[tuple[int, Entry | Run, int, int]] = deque()
        self.slots = self.room = 0

    def open(self, messages: int, size: int) -> None:
        """Let so many messages, of so many bytes, be handed over without an acknowledgement."""
        self.slots, self.room = messages, size

    def close(self) -> list[tuple[int, Entry]]:
        """Forget what was handed over; returns what the store does not have, with its numbers."""
        back = [
            (n, entry)
            for n, entry, _, _ in self._handed
            if isinstance(entry, Entry) and entry.state <= TAKEN
        ]
        self._handed.clear()
        self.slots = self.room = 0
        return back

    @property
    def full(self) -> bool:
        """Whether nothing more may be handed over."""
        return self.slots <= 0 or self.room <= 0

    def note(self, n: int, entry: Entry, size: int) -> None:
        """Count a message of so many bytes that the listener has."""
        self._handed.append((n, entry, 1, size))
        self.slots -= 1
        self.room -= size

    def hand(self, first: int, entries: Sequence[Entry]) -> list[bytes]:
        """Hand messages over, as many as there is room for.

        Args:
            first: the first one's number.
            entries: the messages; those that are handed over get their numbers.

        Returns:
            What to say: header and body of each.
        """
        slots, room, handed = self.slots, self.room, self._handed
        said: list[bytes] = []
        for n, entry in enumerate(entries, first):
            if slots <= 0 or room <= 0:
                break
            body = entry.body
            size = len(body)
            entry.n = n
            handed.append((n, entry, 1, size))
            said.append(entry.header(n))
            said.append(body)
            slots -= 1
            room -= size
        self.slots, self.room = slots, room
        return said

    def pass_on(self, first: int, run: Run) -> Run | None:
        """Hand messages with ttl 0 over; returns those that there is room for, if for any."""
        count, size = len(run.bodies), run.size
        if count > self.slots or size > self.room:
            count, size = self._fitting(run.bodies)
            if not count:
                return None
            run = run.cut(count, size)
        self._handed.append((first + count - 1, run, count, size))
        self.slots -= count
        self.room -= size
        return run

    def _fitting(self, bodies: Sequence[bytes]) -> tuple[int, int]:
        """Tell how many messages may be handed over, and how many bytes they have."""
        count = size = 0
        while count < min(len(bodies), self.slots) and size < self.room:
            size += len(bodies[count])
            count += 1
        return count, size

    def forget(self, upto: int, peer: Peer) -> list[Entry]:
        """Make room for what is acknowledged.

        Args:
            upto: the number of the last message that is.
            peer: by whom.

        Returns:
            Those messages that were to be kept.
        """
        handed = self._handed
        forgotten: list[Entry] = []
        while handed and handed[0][0] <= upto:
            _, entry, count, size = handed.popleft()
            self.slots += count
            self.room += size
            if isinstance(entry, Entry):
                forgotten.append(entry)
            else:
                entry.got(peer, len(entry.bodies) - count, count)
        if handed and isinstance(handed[0][1], Run):
            self._forget_part(upto, peer)
        return forgotten

    def _forget_part(self, upto: int, peer: Peer) -> None:
        """Make room for those messages of the oldest run that are acknowledged, if any are."""
        last, run, count, size = self._handed[0]
        assert isinstance(run, Run)
        done = upto - (last - count)
        if done > 0:
            first = len(run.bodies) - count
            freed = sum(map(len, run.bodies[first : first + done]))
            self._handed[0] = last, run, count - done, size - freed
            self.slots += done
            self.room += freed
            run.got(peer, first, done)
