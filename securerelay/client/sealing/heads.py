"""What the first message of a stream to somebody tells of our other streams there."""

from __future__ import annotations

from collections.abc import Callable

from twisted.python.failure import Failure

from securerelay.client import heads
from securerelay.client.entry import Entry, Letter
from securerelay.client.journal import Journal
from securerelay.client.sealing.vault import Vault
from securerelay.client.state import State

AUTHOR = "heads.author"
_Told = tuple[tuple[bytes, int], ...]


class Heads:
    """Looks it up, for all messages of one turn together.

    Args:
        fp: our fingerprint: nothing is told of what was signed with other keys, for others keep
            accounts by fingerprint.
        vault: what is kept.
        journal: where.
        wake: called when messages may be written that waited for this.
    """

    def __init__(self, fp: bytes, vault: Vault, journal: Journal, wake: Callable[[], None]) -> None:
        self._author = int.from_bytes(fp[:7], "big")
        self._vault = vault
        self._journal = journal
        self._wake = wake
        self._due: list[tuple[bytes, str, bytes, Letter]] = []
        self._under_way: dict[Letter, bytes] = {}

    def want(self, stream: bytes, entry: Entry) -> None:
        """Have a message learn what it tells; that is known by the time that it is on disk.

        Args:
            stream: the one it is in, 16 bytes.
            entry: the first one there to its recipient; it is known for whom it is sealed.
        """
        letter = entry.letter
        assert letter is not None, "it is sealed"
        if self._under_way.get(letter) == stream:
            return
        self._under_way[letter] = stream
        self._due.append((stream, entry.to.decode(), letter.bound, letter))
        if len(self._due) == 1:
            self._journal.prepare(self._prepare).addCallbacks(self._found, self._failed)

    def _prepare(self) -> Callable[[State], list[tuple[bytes, Letter, _Told]]]:
        due, self._due = self._due, []
        now = self._journal.now()

        def job(state: State) -> list[tuple[bytes, Letter, _Told]]:
            if self._vault.fact(state, AUTHOR) != self._author:
                state.db.execute("DELETE FROM head")
                self._vault.set_fact(state, AUTHOR, self._author)
            return [
                (stream, letter, heads.newest(state.db, to, bound, stream, now))
                for stream, to, bound, letter in due
            ]

        return job

    def _found(self, found: list[tuple[bytes, Letter, _Told]]) -> None:
        for stream, letter, told in found:
            if self._under_way.get(letter) == stream:  # else it went on in another one
                letter.heads = told
                del self._under_way[letter]
        self._wake()

    def _failed(self, failure: Failure) -> None:
        # Without a disk nothing is sent that should be kept; nobody waits for this alone.
        self._due.clear()
        for letter in self._under_way:
            letter.heads = ()
        self._under_way.clear()
