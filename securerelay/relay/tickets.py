"""New tickets wait here for a moment, so that those of many sessions reach the disk together.

Who comes back sooner finds the ticket here, and the disk never hears of it.  A crash in that moment
costs whoever holds such a ticket a full handshake, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from securerelay import failpoints
from securerelay.errors import StorageError
from securerelay.store.interface import Store
from securerelay.store.rows import Redeemed, TicketRow

WAIT = 0.1
"""Seconds that a ticket waits for others."""
MOST = 1024
"""With so many they go at once."""


class Tickets:
    """The tickets of all sessions.

    Args:
        reactor: timers.
        store: where they are kept.
    """

    def __init__(self, reactor: IReactorTime, store: Store) -> None:
        self._reactor = reactor
        self._store = store
        self._fresh: dict[bytes, TicketRow] = {}
        self._timer: IDelayedCall | None = None

    def put(self, tickets: Iterable[TicketRow]) -> None:
        """Keep tickets for one use each; nobody waits for the disk."""
        self._fresh.update((ticket.id_sha256, ticket) for ticket in tickets)
        if len(self._fresh) >= MOST:
            self.flush()
        elif self._timer is None:
            self._timer = self._reactor.callLater(WAIT, self.flush)

    def flush(self) -> None:
        """Hand everything to the store."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        if self._fresh:
            fresh, self._fresh = self._fresh, {}
            self._store.ticket_put(list(fresh.values())).addCallbacks(_kept, _not_kept)

    async def take(
        self, id_sha256: bytes, now: int, verify: Callable[[bytes], None]
    ) -> Redeemed | None:
        """Take a ticket out; arguments, result and failures are those of the store's.

        What the store asks of the directory inside its transaction is asked here before: nothing
        happens between the last look at a fresh ticket and its end.
        """
        ticket = self._fresh.get(id_sha256)
        if ticket is not None:
            peer = await self._store.lookup(ticket.name)
            if self._fresh.get(id_sha256) is ticket:
                if (
                    ticket.expiry <= now
                    or peer is None
                    or peer.state != "active"
                    or peer.certificate.sha256 != ticket.certificate_sha256
                ):
                    return None
                verify(ticket.psk)
                del self._fresh[id_sha256]
                return Redeemed(ticket, peer)
        return await self._store.ticket_take(id_sha256, now, verify)

    async def kill(self, session_id: bytes) -> None:
        """Delete the tickets of a session."""
        self.flush()  # the store makes changes in the order they were asked for
        await self._store.tickets_kill(session_id=session_id)


def _kept(_: None) -> None:
    failpoints.reach("tickets-kept")


def _not_kept(failure: Failure) -> None:
    failure.trap(StorageError)
