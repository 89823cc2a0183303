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
        # The number of the last message in it, what it is, how many messages, how many bytes; a
        # deque takes 760 bytes, which those to whom nothing comes need not have.
        self._handed: deque[tuple[int, Entry | Run, int, int]] | None = None
        self.slots = self.room = 0

    def open(self, messages: int, size: int) -> None:
        """Let so many messages, of so many bytes, be handed over without an acknowledgement."""
        self.slots, self.room = messages, size

    def close(self) -> list[tuple[int, Entry]]:
        """Forget what was handed over; returns what the store does not have, with its numbers."""
        back = [
            (n, entry)
            for n, entry, _, _ in self._handed or ()
            if isinstance(entry, Entry) and entry.state <= TAKEN
        ]
        self._handed = None
        self.slots = self.room = 0
        return back

    @property
    def full(self) -> bool:
        """Whether nothing more may be handed over."""
        return self.slots <= 0 or self.room <= 0

    def note(self, n: int, run: Entry | Run, count: int, size: int) -> None:
        """Count messages of so many bytes that the listener has, the last one's number being n."""
        if self._handed is None:
            self._handed = deque()
        self._handed.append((n, run, count, size))
        self.slots -= count
        self.room -= size

    def fits(self, run: Run) -> bool:
        """Tell whether messages may be handed over together."""
        bodies = run.bodies
        return len(bodies) <= self.slots and run.size - len(bodies[-1]) < self.room

    def pass_on(self, first: int, run: Run) -> Run | None:
        """Hand messages with ttl 0 over; returns those that there is room for, if for any."""
        if not self.fits(run):
            count = self.fitting(run.bodies)
            if not count:
                return None
            run = run.cut(count)
        count = len(run.bodies)
        self.note(first + count - 1, run, count, run.size)
        return run

    def fitting(self, bodies: Sequence[bytes]) -> int:
        """Tell how many messages may be handed over."""
        count = size = 0
        while count < min(len(bodies), self.slots) and size < self.room:
            size += len(bodies[count])
            count += 1
        return count

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
        if not handed:
            self._handed = None
        else:
            last, run, count, size = handed[0]
            done = upto - (last - count)
            if done > 0:
                first = len(run.bodies) - count
                freed = sum(map(len, run.bodies[first : first + done]))
                handed[0] = last, run, count - done, size - freed
                self.slots += done
                self.room += freed
                if isinstance(run, Entry):
                    forgotten.append(run.part(done))
                else:
                    run.got(peer, first, done)
        return forgotten
