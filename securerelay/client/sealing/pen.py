"""The pen that writes envelopes: where a message stands among those to its recipient."""

from __future__ import annotations

import base64
import typing

from securerelay.client.entry import Entry
from securerelay.client.outbox import Outbox
from securerelay.client.pen import Pen
from securerelay.client.rows import Move, Outgoing, pack_place
from securerelay.client.sealing import letters
from securerelay.sealing.numbers import Course
from securerelay.sealing.plaintext import MAX_SKIPPED, Place

if typing.TYPE_CHECKING:
    from securerelay.client.sealing.sealer import Sealer


class SealingPen(Pen):
    """Writes envelopes for one outbox.

    Args:
        sealer: does it.
    """

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._courses: dict[bytes, Course] = {}
        self.stream = b""

    def attach(self, outbox: Outbox) -> None:
        """See :class:`Pen`."""
        self.outbox = outbox
        self._sealer.pens.append(self)

    def detach(self) -> None:
        """See :class:`Pen`."""
        self._sealer.pens.remove(self)

    def begin(self, stream: bytes) -> None:
        """See :class:`Pen`."""
        self.stream = base64.urlsafe_b64decode(stream + b"==")
        self._courses.clear()

    def recall(self, refused: dict[str, list[int]]) -> None:
        """See :class:`Pen`."""
        for to, indices in refused.items():
            self._courses[to.encode()] = Course(0, tuple(sorted(indices)))

    def number(self, entry: Entry) -> None:
        """See :class:`Pen`."""
        if entry.letter is not None and entry.ttl != 0:
            course = self._courses.get(entry.to, Course()).next()
            self._courses[entry.to] = course
            entry.letter.index = course.last
            if course.last == 1 and entry.letter.bound:
                self._sealer.heads.want(self.stream, entry)

    def pack(self, entry: Entry) -> Outgoing:
        """See :class:`Pen`."""
        return letters.pack(self._sealer.vault, entry)

    def unpack(self, message: Outgoing) -> Entry:
        """See :class:`Pen`."""
        return letters.unpack(self._sealer.vault, message)

    def body(self, entry: Entry) -> bytes | None:
        """See :class:`Pen`."""
        return self._sealer.body(self, entry)

    def skipped(self, to: bytes) -> tuple[int, ...]:
        """Return the indices to a recipient that will not come."""
        course = self._courses.get(to)
        return course.skipped[-MAX_SKIPPED:] if course is not None else ()

    def gone(self, entry: Entry) -> None:
        """See :class:`Pen`."""
        if entry.letter is not None and entry.letter.index:
            course = self._courses.get(entry.to, Course())
            self._courses[entry.to] = course.refuse(entry.letter.index)

    def leaves(self, entry: Entry, seen: bool) -> None:
        """See :class:`Pen`."""
        letter = entry.letter
        if letter is not None:
            if seen and entry.seq:
                # Should the relay deliver it all the same, the recipient will know it again.
                letter.replaces = Place(self.stream, entry.seq, letter.index)
            letter.index, letter.sealed, letter.sealed_by = 0, b"", None
            letter.heads = None

    def doubt(self, entry: Entry, code: str) -> None:
        """See :class:`Pen`."""
        if entry.letter is not None:
            self._sealer.doubt(entry.to.decode(), code)

    def move(self, entry: Entry, stream: str, seq: int) -> Move:
        """See :class:`Pen`."""
        letter = entry.letter
        if letter is None:
            return super().move(entry, stream, seq)
        replaces = pack_place(letter.replaces)
        return Move(stream, seq, entry.seq, letter.index, letter.bound or None, replaces)

    @property
    def full(self) -> bool:
        """See :class:`Pen`."""
        return any(course.full for course in self._courses.values())
