"""Gathers what happens to the streams of an outbox, and has it journaled."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from twisted.python.failure import Failure

from securerelay.client.entry import Entry
from securerelay.client.journal import Journal
from securerelay.client.rows import ACCEPTED, Change, Move, Outgoing, Renewal, Verdict
from securerelay.client.state import State
from securerelay.errors import SecureRelayError, StorageError


@dataclass(slots=True)
class Gathered:
    """What happened to one stream.

    Attributes:
        change: what to write down.
        entries: the messages that are on disk then.
        pending: messages that may be written to the relay then, and not before.
    """

    change: Change
    entries: list[Entry] = field(default_factory=list)
    pending: list[Entry] = field(default_factory=list)


def pack(entry: Entry) -> Outgoing:
    """Return what is journaled of a message that is not sealed."""
    return Outgoing(entry.seq, entry.to.decode(), entry.ttl, entry.receipt, entry.body)


class Changes:
    """The changes of one outbox.

    Args:
        journal: where they go.
        owner: the owner of its streams.
        complete: called when a change is closed, to say where the stream stands.
        stored: called when it is on disk.
        failed: called when it could not be written.
        pack: says what is journaled of a message.
    """

    def __init__(
        self,
        journal: Journal,
        owner: Callable[[], str],
        complete: Callable[[Gathered], None],
        stored: Callable[[Gathered], None],
        failed: Callable[[Gathered, SecureRelayError], None],
        pack: Callable[[Entry], Outgoing] = pack,
    ) -> None:
        self._journal = journal
        self._owner = owner
        self._complete = complete
        self._stored = stored
        self._failed = failed
        self._pack = pack
        self._gathering: Gathered | None = None
        self._closed: list[Gathered] = []
        self._under_way: deque[list[Gathered]] = deque()
        self._asked = False

    def gather(self, stream: bytes, soon: bool) -> Gathered:
        """Return the change that is being gathered for the stream.

        Args:
            stream: the outbox's present one.
            soon: whether somebody waits for it.
        """
        if self._journal.closed:
            # Whoever comes next hears it from the relay again, or finds it in the journal.
            return Gathered(Change(stream.decode(), "", 0))
        if self._gathering is None:
            self._gathering = Gathered(Change(stream.decode(), self._owner(), self._journal.now()))
        if not self._asked:
            self._asked = True
            storing = self._journal.prepare(self._prepare, soon)
            storing.addCallbacks(self._done, self._broke)
        elif soon:
            self._journal.schedule(True)
        return self._gathering

    def keep(self, stream: bytes, entry: Entry) -> None:
        """Have a message journaled."""
        self.gather(stream, True).entries.append(entry)

    def verdict(
        self,
        stream: bytes,
        state: int,
        first: int,
        last: int,
        time: int = 0,
        code: str = "",
        peer: str | None = None,
    ) -> None:
        """Note what became of messages.

        Args:
            stream: theirs.
            state: an index into :data:`~securerelay.client.rows.STATES`.
            first: the first one's seq.
            last: the last one's.
            time: when, Unix ms; 0 for now.
            code: why, if refused.
            peer: the one recipient that it is about; None for all.
        """
        verdicts = self.gather(stream, False).change.verdicts
        if state == ACCEPTED and verdicts:
            before = verdicts[-1]
            if before.state == ACCEPTED and before.last + 1 == first:
                verdicts[-1] = Verdict(ACCEPTED, before.first, last, before.time)
                return
        time = time or self._journal.now()
        verdicts.append(Verdict(state, first, last, time, code or None, peer))

    def turn(self) -> list[Entry]:
        """End with a stream.

        Returns:
            The messages that were not yet on their way to disk.
        """
        gathering, self._gathering = self._gathering, None
        if gathering is None:
            return []
        entries, gathering.entries = gathering.entries, []
        self._complete(gathering)
        self._closed.append(gathering)
        return entries

    def move(self, stream: bytes, moves: Iterable[Move], pending: Iterable[Entry] = ()) -> None:
        """Note that messages on disk go on in another stream.

        Args:
            stream: the one they are in now.
            moves: where they were.
            pending: messages that may be written to the relay when that is on disk.
        """
        gathered = self.gather(stream, True)
        gathered.change.moves += moves
        gathered.pending += pending

    def bind(self, stream: bytes, entry: Entry, bound: bytes) -> None:
        """Note for whom a message is sealed; it may be written when that is on disk."""
        gathered = self.gather(stream, True)
        gathered.change.bounds.append((entry.seq, bound))
        gathered.pending.append(entry)

    def renew(
        self,
        old: bytes,
        new: bytes,
        moves: Iterable[Move],
        unconfirmed: list[int],
        entries: list[Entry],
    ) -> None:
        """Note that messages go on in another stream, and that theirs is over.

        Args:
            old: the stream they were in.
            new: the stream they are in now.
            moves: those on disk.
            unconfirmed: the old seqs of those that are not sent again.
            entries: those that were not yet on their way to disk.
        """
        gathered = self.gather(new, True)
        gathered.entries += entries
        gathered.change.moves += moves
        gathered.change.renewal = Renewal(old.decode(), tuple(unconfirmed), self._journal.now())

    def _prepare(self) -> Callable[[State], None]:
        self._asked = False
        if self._gathering is not None:
            self._complete(self._gathering)
            self._closed.append(self._gathering)
        self._gathering = None
        closed, self._closed = self._closed, []
        self._under_way.append(closed)
        for gathered in closed:
            gathered.change.outgoing = [
                self._pack(one) for one in gathered.entries if one.journaled
            ]
        changes = [gathered.change for gathered in closed]

        def job(state: State) -> None:
            for change in changes:
                state.apply(change)

        return job

    def _done(self, _: None) -> None:
        for gathered in self._under_way.popleft():
            for entry in gathered.pending:
                entry.pending = False
            self._stored(gathered)

    def _broke(self, failure: Failure) -> None:
        error = failure.value
        if not isinstance(error, SecureRelayError):
            error = StorageError(str(error))
        for gathered in self._under_way.popleft():
            self._failed(gathered, error)
