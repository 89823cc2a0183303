"""Peers that were looked up lately, so that whoever comes back soon needs no thread and no query.

Nobody else writes to the database, so what it said holds until something here changes it.  While a
change is under way, what is read may be from before or after it, and is not remembered.
"""

from __future__ import annotations

from typing import TypeVar

from twisted.internet.defer import Deferred

from securerelay.store.rows import PeerRow

T = TypeVar("T")

MOST = 1024
"""How many peers are remembered, of 2 KiB each; the oldest goes first."""


class Known:
    """Rows of the directory; all of it happens in the reactor thread."""

    __slots__ = ("_peers", "changes")

    def __init__(self) -> None:
        self._peers: dict[str, PeerRow] = {}
        self.changes = 0

    def get(self, name: str) -> PeerRow | None:
        """Return a peer that is remembered."""
        return self._peers.get(name)

    def keep(self, peer: PeerRow | None, changes: int) -> PeerRow | None:
        """Remember a peer, unless something changed since it was asked for.

        Args:
            peer: what was found.
            changes: what :attr:`changes` was when the question was put.

        Returns:
            The peer.
        """
        if peer is not None and changes == self.changes:
            self._peers[peer.name] = peer
            if len(self._peers) > MOST:
                del self._peers[next(iter(self._peers))]
        return peer

    def until(self, change: Deferred[T]) -> Deferred[T]:
        """Forget everybody, now that a change was asked for and again when it is made."""
        self._forget()
        return change.addBoth(self._forget)

    def _forget(self, passed_on: T | None = None) -> T | None:
        self.changes += 1
        self._peers.clear()
        return passed_on
