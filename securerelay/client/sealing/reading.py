"""What was read: told to those who asked for it, and taken from others.

The relay tells, too, that a message was acknowledged (GOT).  What is said here is signed by the
recipient, so a relay that says so of what it never delivered stands out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from securerelay.client import reads
from securerelay.client.calls import Event
from securerelay.client.journal import Journal
from securerelay.client.sealing.accounts import stream_name
from securerelay.client.sealing.contacts import Contacts
from securerelay.client.sealing.opener import Arrival
from securerelay.sealing.envelope import Opened
from securerelay.sealing.plaintext import Content
from securerelay.sealing.resend import Read

PAUSE = 1.0
"""Seconds for which what was read is gathered."""

Tell = Callable[[str, str, bytes], None]


class Reading:
    """Says what we have read, and hears what others have.

    Args:
        contacts: who others are.
        journal: where it is noted.
        clock: the reactor.
        tell: sends something to another client that is not for people.
        notify: passes an event to whoever reads the client's.
        on: whether we say what we have read.
    """

    def __init__(
        self,
        contacts: Contacts,
        journal: Journal,
        clock: IReactorTime,
        tell: Tell,
        notify: Callable[[Event], None],
        on: bool = True,
    ) -> None:
        self._contacts = contacts
        self._journal = journal
        self._clock = clock
        self._tell = tell
        self._notify = notify
        self._on = on
        self._asked: dict[int, tuple[str, Content]] = {}
        self._read: dict[tuple[str, bytes], list[tuple[int, int]]] = {}
        self._timer: IDelayedCall | None = None

    # -- what we read

    def shown(self, n: int, sender: str, content: Content) -> None:
        """Note that the application gets a message.

        Args:
            n: names it until it is dealt with.
            sender: who wrote it.
            content: what was signed.
        """
        # A whole room does not answer, whoever asks it to.
        if self._on and content.receipt and not content.to.startswith("@"):
            self._asked[n] = (sender, content)

    def dealt(self, numbers: Sequence[int]) -> None:
        """The application has dealt with messages: tell it soon to those who asked."""
        for n in numbers:
            asked = self._asked.pop(n, None)
            if asked is not None:
                sender, content = asked
                self._note(sender, content.stream, content.index)
                if content.replaces is not None:
                    self._note(sender, content.replaces.stream, content.replaces.index)

    def _note(self, sender: str, stream: bytes, index: int) -> None:
        if not index:
            return  # delivered at once or never, and remembered by nobody
        runs = self._read.setdefault((sender, stream), [])
        if runs and runs[-1][1] + 1 == index:
            runs[-1] = (runs[-1][0], index)
        else:
            runs.append((index, index))
        if self._timer is None:
            self._timer = self._clock.callLater(PAUSE, self.flush)

    def flush(self) -> bool:
        """Tell what was read so far; returns whether that was anything."""
        self.stop()
        read, self._read = self._read, {}
        for (sender, stream), runs in read.items():
            for first, last in runs:
                said = Read(stream, last, first if first < last else 0)
                self._tell(sender, Read.CONTENT_TYPE, said.body())
        return bool(read)

    def stop(self) -> None:
        """Wait for nothing any more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    # -- what others read

    async def heard(self, opened: Opened, arrival: Arrival) -> None:
        """Note what a recipient of ours has read."""
        reader, now = opened.sender, self._journal.now()
        pin = self._contacts.pin(reader.name)
        former = pin.former if pin is not None else ()
        bound = {reader.fp, *(one.identity.fp for one in former)}
        said = Read.read(opened.content.body)
        stream, first = stream_name(said.stream), said.first or said.index
        for seq in await self._journal.do(
            lambda state: reads.note(
                *(state.db, reader.name, bound, stream, first, said.index, now),
            )
        ):
            event = {"peer": reader.name, "stream": stream, "seq": seq, "time": now}
            self._notify(Event("read", event))
