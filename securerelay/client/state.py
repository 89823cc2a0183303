"""What a profile keeps on disk of its messages: the outbox's journal, and what was dealt with.

Everything here runs in the lane's thread (or in a program that has no reactor).  Each call is part
of a transaction that :meth:`State.run` makes of all that came together.
"""

# More than 400 lines: what is journaled of messages sent is written and read in one place.

from __future__ import annotations

import base64
import pathlib
import sqlite3
import typing
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from securerelay.client import heads, records
from securerelay.client.forgetting import DAY, forget
from securerelay.client.rows import (
    ACCEPTED,
    DELIVERED,
    QUEUED,
    REFUSED,
    UNCONFIRMED,
    Change,
    Left,
    Move,
    Outgoing,
    Record,
    Verdict,
    pack_place,
)
from securerelay.client.seqs import Seqs
from securerelay.client.statefile import open_file
from securerelay.errors import LocalError, StorageError
from securerelay.sealing.plaintext import Place

NAME = "state.sqlite"
SEQ_BITS = 40
PAGE_BYTES = 4 << 20
EXPIRY_TOLD = 60_000
"""Milliseconds after a message's time ran out by which the relay has surely noticed."""

# A recipient that lost its keys may ask for a letter again.
_KEPT = "CASE WHEN form > 0 AND size <= 16384 AND recipient NOT LIKE '@%' THEN body END"
_LEFT = "name, owner, answered, last, written, digest IS NOT NULL"
_OUTGOING = "recipient, ttl, receipt, body, size, form, place, bound, replaces"

Job = Callable[["State"], typing.Any]


class State:
    """The database of one profile.

    Args:
        folder: the profile's.

    Raises:
        StorageError: if it cannot be used; it is left as it is.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.path = folder / NAME
        self._db = open_file(self.path)
        self._broken: StorageError | None = None

    @property
    def db(self) -> sqlite3.Connection:
        """The connection, for what else is kept in the file; for jobs of :meth:`run` alone."""
        return self._db

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def run(self, jobs: Sequence[Job], write: bool = True) -> list[typing.Any]:
        """Do jobs in one transaction.

        Args:
            jobs: each gets this state. A job that raises :class:`LocalError` has changed nothing.
            write: whether any of them writes.

        Returns:
            For each job what it returned, or the error: StorageError for all if the disk failed, or
            one of them had a number too high to keep; then nothing of any is done.
        """
        if self._broken is not None:
            return [self._broken] * len(jobs)
        done: list[typing.Any] = []
        try:
            self._db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            for job in jobs:
                try:
                    done.append(job(self))
                except LocalError as error:
                    done.append(error)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            return [self._failed(error)] * len(jobs)
        except OverflowError as error:
            self._db.execute("ROLLBACK")
            return [StorageError(f"{self.path} cannot keep it: {error}")] * len(jobs)
        return done

    def _failed(self, error: sqlite3.Error) -> StorageError:
        failure = StorageError(f"{self.path} cannot be written: {error}")
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error:
            self._broken = failure
        full = str(error).endswith("is full") or "locked" in str(error)
        if not full:
            # After an error of the disk nobody knows what is on it: nothing is tried again.
            self._broken = failure
        return failure

    # -- streams that we send

    def apply(self, change: Change) -> None:
        """Write down what happened to a stream of ours."""
        base = self._base(change.stream)
        if base is None:
            self._db.execute(
                "INSERT INTO stream (name, owner, created, held) VALUES (?, ?, ?, ?)",
                (change.stream, change.owner, change.time, change.held),
            )
            base = self._base(change.stream)
            assert base is not None, "it was made just now"
        if change.moves:
            self._move(base, change.moves)
        if change.renewal is not None:
            old = self._base(change.renewal.old)
            if old is not None:
                self._unconfirmed(old, change.renewal.unconfirmed, change.renewal.time)
                self._end(old)
        if change.outgoing:
            # The rows go in as they are, since their number counts.
            self._db.executemany(
                "INSERT INTO message (id, recipient, ttl, receipt, body, size, form, place, bound, "  # noqa: S608
                "replaces, queued) "
                f"VALUES ({base} + ?1, ?2, ?3, ?4, ?5, ifnull(?6, length(?5)), ?7, ?8, ?9, ?10, "
                f"{change.time:d})",
                change.outgoing,
            )
        for seq, bound in change.bounds:
            self._db.execute("UPDATE message SET bound = ? WHERE id = ?", (bound, base + seq))
        for verdict in change.verdicts:
            self._settle(base, verdict)
        self._db.execute(
            "UPDATE stream SET last = max(last, ?), written = max(written, ?), "
            "answered = max(answered, ?) WHERE id = ?",
            (change.last, change.written, change.answered, base >> SEQ_BITS),
        )

    def _move(self, base: int, moves: Iterable[Move]) -> None:
        """Put messages of other streams into one."""
        old: dict[str, int | None] = {}
        for move in moves:
            if move.stream not in old:
                old[move.stream] = self._base(move.stream)
        self._db.executemany(
            "UPDATE message SET id = ?, place = ?, bound = ?, replaces = ? WHERE id = ?",
            [
                (base + move.new, move.place, move.bound, move.replaces, before + move.seq)
                for move in moves
                if (before := old[move.stream]) is not None
            ],
        )

    def _base(self, stream: str) -> int | None:
        """Return the id that a stream's message 0 would have; None for an unknown stream."""
        row = self._db.execute("SELECT id FROM stream WHERE name = ?", (stream,)).fetchone()
        return row[0] << SEQ_BITS if row else None

    def _settle(self, base: int, verdict: Verdict) -> None:
        first, last, time = base + verdict.first, base + verdict.last, verdict.time
        if verdict.peer is not None and self._miss(first, verdict):
            return
        if verdict.state == ACCEPTED:
            self._db.execute(
                f"UPDATE message SET state = ?, settled = ?, body = {_KEPT} "  # noqa: S608
                "WHERE id BETWEEN ? AND ? AND state = ?",
                (ACCEPTED, time, first, last, QUEUED),
            )
            heads.note(self._db, first, last, time)
        elif verdict.state == REFUSED:
            self._db.execute(
                "UPDATE message SET state = ?, settled = ?, code = ?, body = NULL "
                "WHERE id = ? AND state = ?",
                (REFUSED, time, verdict.code, first, QUEUED),
            )
        else:
            self._db.execute(
                "UPDATE message SET state = ?, settled = ifnull(settled, ?), "  # noqa: S608
                f"delivered = ?, body = {_KEPT} WHERE id = ? AND state IN (?, ?)",
                (
                    *(verdict.state, time, time if verdict.state == DELIVERED else None),
                    *(first, QUEUED, ACCEPTED),
                ),
            )

    def _miss(self, message: int, verdict: Verdict) -> bool:
        """Note that a member of a room does not get a message; False for one to a peer."""
        noted = self._db.execute(
            "INSERT OR REPLACE INTO missed SELECT id, ?, ? FROM message "
            "WHERE id = ? AND recipient LIKE '@%'",
            (verdict.peer, verdict.code, message),
        ).rowcount
        return noted > 0

    def _unconfirmed(self, base: int, seqs: Iterable[int], time: int) -> None:
        for seq in seqs:
            self._settle(base, Verdict(REFUSED, seq, seq, time, UNCONFIRMED))

    def _end(self, base: int) -> None:
        """Have nothing more expected in a stream."""
        self._db.execute("UPDATE stream SET answered = last WHERE id = ?", (base >> SEQ_BITS,))

    # -- streams that others of our profile left

    def left(self, owner: str, asked_before: int | None) -> list[Left]:
        """List the streams of others in which something is to be done, the oldest first.

        Args:
            owner: ourselves, whose streams are left out.
            asked_before: also those where receipts are missing, unless they were asked for since
                this time (Unix ms); None for only those with messages to send.
        """
        rows = self._db.execute(
            f"SELECT {_LEFT} FROM stream WHERE owner != ? AND held = 0 AND "  # noqa: S608
            "(answered < last OR (asked < ? AND id IN "
            "(SELECT id >> 40 FROM message WHERE receipt = 1 AND state = 1))) ORDER BY id",
            (owner, -1 if asked_before is None else asked_before),
        )
        return [Left(*row) for row in rows]

    def expired(self, owner: str, now: int, lifetime: int, longest: int, limit: int) -> list[Left]:
        """List streams of others in which a message's time has run out since they were asked for.

        Args:
            owner: ourselves, whose streams are left out.
            now: Unix ms.
            lifetime: seconds that the relay keeps a message that says nothing of it.
            longest: seconds that it keeps any.
            limit: how many at most.
        """
        rows = self._db.execute(
            f"SELECT {_LEFT} FROM stream WHERE owner != ? AND EXISTS "  # noqa: S608
            "(SELECT 1 FROM message WHERE id BETWEEN stream.id << 40 AND stream.id + 1 << 40 AND "
            "state = 1 AND settled + min(ifnull(ttl, ?), ?) * 1000 + ? BETWEEN asked AND ?) "
            "LIMIT ?",
            (owner, lifetime, longest, EXPIRY_TOLD, now, limit),
        )
        return [Left(*row) for row in rows]

    def one_left(self, stream: str, now: int) -> Left | None:
        """Look at one stream before it is drained, and note that its receipts are asked for."""
        self._db.execute("UPDATE stream SET asked = ? WHERE name = ?", (now, stream))
        row = self._db.execute(
            f"SELECT {_LEFT} FROM stream WHERE name = ?",  # noqa: S608
            (stream,),
        ).fetchone()
        return Left(*row) if row else None

    def load(self, stream: str, after: int, limit: int) -> list[Outgoing]:
        """Read messages without verdict, in order, up to some megabytes.

        Args:
            stream: of which stream.
            after: the seq after which to begin.
            limit: how many at most.
        """
        base = self._base(stream)
        if base is None:
            return []
        rows = self._db.execute(
            f"SELECT id, {_OUTGOING} FROM message "  # noqa: S608
            "WHERE id > ? AND id < ? AND state = ? ORDER BY id LIMIT ?",
            (base + after, base + (1 << SEQ_BITS), QUEUED, limit),
        )
        page: list[Outgoing] = []
        size = 0
        for number, *row in rows:
            page.append(Outgoing(number - base, *row))
            size += len(page[-1].body)
            if size > PAGE_BYTES:
                break
        return page

    def pick(self, places: Iterable[tuple[str, int]]) -> list[Outgoing | None]:
        """Read messages by stream and seq; None for one that is gone."""
        picked: list[Outgoing | None] = []
        for stream, seq in places:
            row = self._db.execute(
                f"SELECT {_OUTGOING} FROM message "  # noqa: S608
                "WHERE id = ifnull((SELECT id FROM stream WHERE name = ?), 0) << 40 | ? "
                "AND state = ?",
                (stream, seq, QUEUED),
            ).fetchone()
            picked.append(Outgoing(seq, *row) if row else None)
        return picked

    def refused(self, stream: str) -> dict[str, list[int]]:
        """List the places of a stream whose messages were refused, by recipient."""
        found: dict[str, list[int]] = {}
        base = self._base(stream)
        for to, place in self._db.execute(
            "SELECT recipient, place FROM message WHERE id BETWEEN ? AND ? AND state = ? "
            "AND place > 0",
            (base or 0, (base or 0) + (1 << SEQ_BITS), REFUSED),
        ):
            found.setdefault(to, []).append(place)
        return found

    def move(self, stream: str, new: str, after: int, now: int) -> None:
        """Go on with a stream's messages in a new one of the same owner.

        Args:
            stream: which the relay takes no more.
            new: the new one's name.
            after: the seq up to which messages may have arrived, and so are not sent again.
            now: Unix ms.
        """
        base = self._base(stream)
        assert base is not None, "it was read before"
        rows = self._db.execute(
            "SELECT id, recipient, form, place, bound, replaces FROM message "
            "WHERE id > ? AND id < ? AND state = ? ORDER BY id",
            (base, base + (1 << SEQ_BITS), QUEUED),
        ).fetchall()
        self._unconfirmed(base, [row[0] - base for row in rows if row[0] - base <= after], now)
        moves: list[Move] = []
        places: Counter[str] = Counter()
        for number, to, form, place, bound, replaces in rows:
            seq = number - base
            if seq <= after:
                continue
            if form and place:
                places[to] += 1
                # Should the relay deliver it all the same, the recipient will know it again.
                replaces = pack_place(Place(base64.urlsafe_b64decode(stream + "=="), seq, place))
            moves.append(Move(stream, seq, len(moves) + 1, places[to], bound, replaces))
        if moves:
            self._db.execute(
                "INSERT INTO stream (name, owner, created, last) "
                "SELECT ?, owner, ?, ? FROM stream WHERE name = ?",
                (new, now, len(moves), stream),
            )
            target = self._base(new)
            assert target is not None, "it was made just now"
            self._move(target, moves)
        self._end(base)

    # -- a message with a key of its own

    def once(self, stream: str, owner: str, digest: bytes, message: Outgoing, now: int) -> Record:
        """Journal the one message of a stream that a key names, unless that was done before.

        Args:
            stream: the stream's name.
            owner: who sends it if it is new.
            digest: of what is sent, and to whom.
            message: with seq 1.
            now: Unix ms.

        Returns:
            What is remembered of it.

        Raises:
            LocalError: if the key was used for another message.
        """
        row = self._db.execute("SELECT digest FROM stream WHERE name = ?", (stream,)).fetchone()
        if row is None:
            self.apply(Change(stream, owner, now, [message], last=1))
            self._db.execute("UPDATE stream SET digest = ? WHERE name = ?", (digest, stream))
        elif row[0] != digest:
            raise LocalError(
                "this key was used for another message before; a key names one message to one "
                "recipient"
            )
        found = self.find(stream, 1)
        assert found is not None, "a stream is forgotten with its messages"
        return found

    # -- what became of messages

    def find(self, stream: str, seq: int) -> Record | None:
        """Return what is remembered of one message."""
        base = self._base(stream)
        return None if base is None else records.find(self._db, base + seq)

    def sent(self, limit: int, state: str | None = None) -> list[Record]:
        """List what is remembered of the newest messages, the oldest of them first.

        Args:
            limit: how many.
            state: only those in this state; None for all.
        """
        return records.sent(self._db, limit, state)

    def queued(self) -> int:
        """Count the messages without a verdict."""
        return records.queued(self._db)

    # -- what was dealt with

    def recall(self, keys: Iterable[tuple[str, str]]) -> list[Seqs]:
        """Say what was dealt with of others' streams, for each pair of a sender and a stream."""
        found = []
        for key in keys:
            row = self._db.execute(
                "SELECT highest, gaps FROM dealt WHERE sender = ? AND stream = ?", key
            ).fetchone()
            found.append(Seqs(*row) if row else Seqs())
        return found

    def deal(self, dealt: dict[tuple[str, str], list[int]], now: int) -> None:
        """Note messages of others' streams as dealt with; another process may have noted more."""
        keys = list(dealt)
        for key, seqs in zip(keys, self.recall(keys), strict=True):
            for seq in dealt[key]:
                seqs.add(seq)
            self._db.execute(
                "INSERT OR REPLACE INTO dealt VALUES (?, ?, ?, ?, ?)",
                (*key, seqs.highest, seqs.gaps, now),
            )

    # -- forgetting

    def forget(self, now: int) -> set[str]:
        """Once a day, forget what is too old.

        Returns:
            The owners of the streams with something left to send.
        """
        row = self._db.execute("SELECT value FROM fact WHERE key = 'forgot'").fetchone()
        if row is None or not 0 <= now - row[0] < DAY:
            self._db.execute("INSERT OR REPLACE INTO fact VALUES ('forgot', ?)", (now,))
            forget(self._db, now)
        return {owner for (owner,) in self._db.execute("SELECT DISTINCT owner FROM stream")}
