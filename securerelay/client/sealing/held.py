"""Messages that cannot be sealed yet: on disk, in order for each recipient, in nobody's way.

They are journaled in a stream that is never opened at the relay.  In memory are only their numbers
there, and the messages that somebody waits for.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterable
from itertools import islice

from twisted.internet.defer import Deferred

from securerelay.client.changes import Changes, Gathered
from securerelay.client.entry import Entry, Sent
from securerelay.client.journal import Journal
from securerelay.client.pace import Load
from securerelay.client.rows import REFUSED, Change, Move, Outgoing, pack_place
from securerelay.client.rows import Verdict as Fate
from securerelay.client.sealing.accounts import stream_name
from securerelay.client.sealing.letters import pack, unpack
from securerelay.client.sealing.vault import Vault
from securerelay.client.state import State
from securerelay.errors import SecureRelayError

PAGE = 256
"""Messages that are brought back from disk at a time."""

Spot = tuple[str, int]
"""Where a message lies: a held stream's name, and the seq there."""


class Held:
    """The held messages of one program.

    Args:
        vault: wraps what is journaled.
        journal: where.
    """

    def __init__(self, vault: Vault, journal: Journal) -> None:
        self._vault = vault
        self._journal = journal
        self._stream = stream_name(secrets.token_bytes(16)).encode()
        self._numbered = 0
        self._spots: dict[str, deque[Spot]] = {}
        self._entries: dict[Spot, Entry] = {}
        self._load = Load()
        self._changes = Changes(
            journal,
            journal.own,
            self._complete,
            self._stored,
            self._not_stored,
            lambda entry: pack(vault, entry),
        )

    def __len__(self) -> int:
        return sum(map(len, self._spots.values()))

    def __contains__(self, to: str) -> bool:
        return to in self._spots

    @property
    def recipients(self) -> list[str]:
        """Those who have messages here."""
        return list(self._spots)

    def space(self) -> Deferred[None] | None:
        """Say when there is room for more; None if there is room now."""
        return self._load.space()

    # -- in

    def hold(self, entry: Entry) -> None:
        """Keep a message that is nowhere yet."""
        spot = self._next(entry)
        entry.seq, entry.journaled = spot[1], True
        self._entries[spot] = entry
        self._load.add(len(entry.body))
        self._changes.keep(self._stream, entry)

    def take_back(self, stream: bytes, taken: Iterable[tuple[Entry, Entry]]) -> None:
        """Keep messages that have a number in a stream of ours.

        Args:
            stream: the one they are in; on disk.
            taken: from :meth:`securerelay.client.outbox.Outbox.set_aside`.
        """
        moves, fillers = [], []
        for entry, filler in taken:
            spot = self._next(entry)
            letter = entry.letter
            replaces = pack_place(letter.replaces) if letter is not None else None
            moves.append(Move(stream.decode(), entry.seq, spot[1], replaces=replaces))
            fillers.append(filler)
            if entry.done is not None:
                self._entries[spot] = entry
        self._changes.move(self._stream, moves, fillers)

    def adopt(self, spots: Iterable[tuple[str, Spot]]) -> None:
        """Take over what another program of the profile left.

        Args:
            spots: pairs of a recipient and where its message lies, in order.
        """
        for to, spot in spots:
            self._spots.setdefault(to, deque()).append(spot)

    def _next(self, entry: Entry) -> Spot:
        self._numbered += 1
        spot = (self._stream.decode(), self._numbered)
        self._spots.setdefault(entry.to.decode(), deque()).append(spot)
        return spot

    # -- out

    async def page(self, to: str) -> list[tuple[Spot, Outgoing | None]]:
        """Read a recipient's first messages from disk; they stay until :meth:`release`."""
        spots = list(islice(self._spots.get(to, ()), PAGE))
        rows = await self._journal.do(lambda state: state.pick(spots), write=False)
        return list(zip(spots, rows, strict=True))

    def release(self, to: str, spot: Spot, row: Outgoing | None) -> Entry | None:
        """Let go of a recipient's first message, which goes elsewhere in the journal.

        Returns:
            The message without a number; None if it is gone.
        """
        self._drop(to)
        waiting = self._entries.pop(spot, None)
        if row is None:
            return None
        entry = unpack(self._vault, row)
        if waiting is not None:
            waiting.letter, waiting.body = entry.letter, entry.body
            entry = waiting
        entry.seq = 0
        return entry

    def _drop(self, to: str) -> None:
        spots = self._spots[to]
        spots.popleft()
        if not spots:
            del self._spots[to]

    def waiting(self, to: str) -> list[Entry]:
        """Return the messages to a recipient that somebody waits for."""
        found = [self._entries[spot] for spot in self._spots.get(to, ()) if spot in self._entries]
        return [entry for entry in found if entry.done is not None]

    def all_waiting(self) -> list[Entry]:
        """Return all messages that somebody waits for."""
        return [entry for entry in self._entries.values() if entry.done is not None]

    def withdraw(self, entry: Entry) -> bool:
        """Stop waiting for a message; False if it is not here."""
        for one in self._entries.values():
            if one is entry:
                entry.done = None
                return True
        return False

    async def refuse(self, to: str, code: str) -> list[Entry]:
        """Give up all messages to a recipient.

        Args:
            to: the recipient.
            code: why.

        Returns:
            The messages, for those who wait or read events; with their bodies gone.
        """
        spots = list(self._spots.pop(to, ()))
        entries = [
            self._entries.pop(spot, Entry(to.encode(), b"", None, False, seq=spot[1]))
            for spot in spots
        ]
        owner, now = self._journal.own(), self._journal.now()

        def job(state: State) -> None:
            for stream, seq in spots:
                verdict = Fate(REFUSED, seq, seq, now, code)
                state.apply(Change(stream, owner, now, verdicts=[verdict], held=True))

        await self._journal.do(job)
        return entries

    # -- the journal's side

    def _complete(self, gathered: Gathered) -> None:
        change = gathered.change
        change.held = True
        seqs = [one.seq for one in gathered.entries] + [move.new for move in change.moves]
        change.last = max(seqs, default=0)

    def _stored(self, gathered: Gathered) -> None:
        for entry in gathered.entries:
            self._load.remove(len(entry.body))
            if entry.until == "queued" and entry.done is not None:
                done, entry.done = entry.done, None
                done.callback(Sent(gathered.change.stream, entry.seq))
            if entry.done is None:
                # Nobody waits: it is read from disk again when it can leave.
                self._entries.pop((gathered.change.stream, entry.seq), None)

    def _not_stored(self, gathered: Gathered, error: SecureRelayError) -> None:
        for entry in gathered.entries:
            self._load.remove(len(entry.body))
            done, entry.done = entry.done, None
            if done is not None:
                done.errback(error)


def left(state: State, owner: str) -> list[tuple[str, str]]:
    """List held streams with messages that others began: pairs of the owner and the stream.

    Args:
        state: of the transaction.
        owner: ourselves, whose streams are left out.
    """
    return list(
        state.db.execute(
            "SELECT owner, name FROM stream WHERE held = 1 AND owner != ? AND EXISTS "
            "(SELECT 1 FROM message WHERE message.id BETWEEN stream.id << 40 AND "
            "(stream.id + 1) << 40 AND state = 0) ORDER BY id",
            (owner,),
        )
    )


def take_over(state: State, stream: str, owner: str) -> list[tuple[str, Spot]]:
    """Make a held stream ours; returns recipients and spots for :meth:`Held.adopt`."""
    state.db.execute("UPDATE stream SET owner = ? WHERE name = ?", (owner, stream))
    return [
        (to, (stream, seq))
        for to, seq in state.db.execute(
            "SELECT recipient, message.id & 1099511627775 FROM message JOIN stream "
            "ON stream.id = message.id >> 40 WHERE stream.name = ? AND state = 0 "
            "ORDER BY message.id",
            (stream,),
        )
    ]
