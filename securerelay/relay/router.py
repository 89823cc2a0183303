"""Who gets a message, and who is here: the one place where names become peers.

A peer is loaded when it connects or when somebody sends to it, and forgotten when neither holds
any more; its name, its certificate and its mail are the store's.  Four sessions of one peer are
allowed (by default): a fifth takes the place of the oldest, which is told ``replaced``, so that
whoever uses a stolen key does not go unnoticed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from securerelay import failpoints
from securerelay.errors import StorageError
from securerelay.relay.config import Config
from securerelay.relay.entry import Route
from securerelay.relay.journal import Journal
from securerelay.relay.logging import EventLog
from securerelay.relay.mailbox import EPOCH_SHIFT, Mailbox
from securerelay.relay.peer import Peer
from securerelay.relay.presence import Presence
from securerelay.relay.rooms import Rooms
from securerelay.relay.screen import only_sealed
from securerelay.relay.session import Session
from securerelay.store.interface import Store
from securerelay.store.rows import Receipt

EXPIRY_SECONDS = 10.0
EXPIRED_AT_ONCE = 1000
WRITTEN_AT_ONCE = 256
"""Sessions that are written to before others have their turn."""


class Router:
    """Everybody who is here and everything that is under way.

    Args:
        reactor: clock and timers.
        store: directory and mailboxes.
        epoch: of this opening of the store.
        config: limits, lifetimes, policy.
        log: where events are told.
        wall: the time of day, Unix seconds.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        store: Store,
        epoch: int,
        config: Config,
        log: EventLog,
        wall: Callable[[], float],
    ) -> None:
        self.store = store
        self.log = log
        self.seconds: Callable[[], float] = reactor.seconds
        self.journal = Journal(reactor, store, log)
        self.presence = Presence(config.policy)
        self.rooms = Rooms(self)
        self._reactor = reactor
        self.wall = wall
        self._base = epoch << EPOCH_SHIFT
        self._peers: dict[bytes, Peer] = {}
        self.ended = 0
        self._dirty: list[Session] = []
        self._expiring: IDelayedCall | None = None
        self._gone: list[Deferred[None]] = []
        self.draining = False
        self.accepted = self.delivered = 0
        self.refused: Counter[str] = Counter()
        self.on_end: Callable[[], object] = lambda: None
        """Called once a name has ended."""
        self._configure(config)

    def _configure(self, config: Config) -> None:
        self.config = config
        self.presence.policy = config.policy
        self.ttl = config.lifetimes.mail * 1000
        self.longest_ttl = config.lifetimes.mail_longest * 1000
        self._unsealing: set[str] = set()

    def reconfigure(self, config: Config) -> None:
        """Go on with other limits, lifetimes and policy; a window changes at the next LISTEN."""
        self._configure(config)
        for peer in self._peers.values():
            peer.relimit()
            if peer.mailbox is not None:
                peer.mailbox.limits = config.limits
        self._forget_routes()

    def now(self) -> int:
        """Return the time of day in Unix milliseconds."""
        return int(self.wall() * 1000)

    # --- the end of a turn ---

    def mark(self, session: Session) -> None:
        """Have a session written to at the end of this turn of the reactor; once is enough."""
        session.marked = True
        if not self._dirty:
            self.later(self._flush)
        self._dirty.append(session)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty[:WRITTEN_AT_ONCE], self._dirty[WRITTEN_AT_ONCE:]
        if self._dirty:
            self.later(self._flush)
        for session in dirty:
            session.flush()

    def later(self, what: Callable[[], object]) -> None:
        """Have something done when others have had their turn."""
        self._reactor.callLater(0, what)

    # --- who is here ---

    @property
    def sessions(self) -> Iterator[Session]:
        """Every session of every peer."""
        for peer in self._peers.values():
            yield from peer.sessions

    @property
    def online(self) -> Iterator[Peer]:
        """Every peer that is here."""
        return (peer for peer in self._peers.values() if peer.sessions)

    def find(self, name: str) -> Peer | None:
        """Return a peer in use; None says nothing about whether the name exists."""
        return self._peers.get(name.encode("ascii"))

    def peer(self, text: str) -> Peer:
        """Return the peer of a name that the directory has."""
        name = text.encode("ascii")
        peer = self._peers.get(name)
        if peer is None:
            peer = self._peers[name] = Peer(self, name, text)
        return peer

    def enter(self, session: Session) -> None:
        """A peer's session begins."""
        peer = session.peer
        most = self.config.limits_of(peer.text).sessions
        for oldest in peer.sessions[: max(0, len(peer.sessions) + 1 - most)]:
            self.log.warn("session.replaced", source=peer.text, session=oldest.session_id.hex())
            oldest.cut("replaced")
        peer.sessions += (session,)
        if len(peer.sessions) == 1:
            self.presence.changed(peer, self.now())

    def leave(self, session: Session) -> None:
        """A peer's session is over; called once for each that entered."""
        peer = session.peer
        peer.sessions = tuple(other for other in peer.sessions if other is not session)
        listened = peer.mailbox is not None and peer.mailbox.listener is session
        self.presence.left(session)
        if peer.mailbox is not None:
            peer.mailbox.left(session)
        if not peer.sessions or listened:
            self.presence.changed(peer, self.now())
        self.forget(peer)
        if self._gone and not any(True for _ in self.sessions):
            gone, self._gone = self._gone, []
            for waiter in gone:
                waiter.callback(None)

    def forget(self, peer: Peer) -> None:
        """Forget a peer that is not in use; its mailbox stays while streams know the way to it."""
        if peer.idle and peer.mailbox is None:
            self._peers.pop(peer.name, None)

    def forget_route(self, to: bytes) -> None:
        """Have every stream ask again for the way to one name."""
        for peer in self._peers.values():
            for stream in peer.streams.values():
                stream.routes.pop(to, None)

    def _forget_routes(self) -> None:
        """Have every stream ask again, and forget the mailboxes that nobody uses."""
        for peer in self._peers.values():
            for stream in peer.streams.values():
                stream.routes.clear()
        idle = [peer for peer in self._peers.values() if peer.idle]
        for peer in idle:
            if peer.mailbox is not None:
                # The store forgets what was acknowledged; its numbers are used up all the same.
                self._base = max(self._base, peer.mailbox.newest)
            del self._peers[peer.name]

    # --- who gets it ---

    async def mailbox(self, peer: Peer) -> Mailbox:
        """Return the mailbox of a peer that the directory has, measuring it first if need be."""
        if peer.mailbox is None:
            state = await self.store.mailbox_state(peer.text)
            if peer.mailbox is None:
                peer.mailbox = Mailbox(peer, state, self._base, self.config.limits)
        return peer.mailbox

    async def route(self, sender: Peer, to: bytes) -> Route | bytes:
        """Find the way from a sender to a recipient.

        Args:
            sender: who.
            to: a peer's name, or a room's.

        Returns:
            The sender's share of the mailbox, or of all mailboxes in a room; or the code of a final
            refusal.
        """
        text = to.decode("ascii")
        if not self.config.policy.may_send(sender.text, text):
            return b"not-permitted"
        if to[:1] == b"@":
            return await self.rooms.route(sender, text)
        while True:
            ended = self.ended
            row = await self.store.lookup(text)
            if row is None or row.state != "active":
                return b"unknown"
            peer = self.peer(text)
            mailbox = await self.mailbox(peer)
            # Nobody was revoked meanwhile, and the peer was not forgotten.
            if ended == self.ended and self._peers.get(to) is peer:
                share = mailbox.share_of(sender.name)
                sealed = self.config.policy.must_seal(sender.text, text)
                share.screen = only_sealed if sealed else None
                return share

    def unsealed(self, sender: Peer, to: bytes) -> None:
        """Log that a peer does not seal: once, until the configuration is read again."""
        if sender.text not in self._unsealing:
            self._unsealing.add(sender.text)
            self.log.warn(
                "message.unsealed", source=sender.text, to=to, hint="[policy] plain names who may"
            )

    def tell(self, receipts: Iterable[Receipt]) -> None:
        """Tell senders whose stream is open what became of messages; the store keeps the rest."""
        for receipt in receipts:
            peer = self._peers.get(receipt.sender.encode("ascii"))
            stream = peer and peer.streams.get(receipt.stream.encode("ascii"))
            if stream:
                stream.tell((receipt,))

    # --- the administrator's side ---

    async def revoke(self, name: str, *, closed: bool = False) -> int:
        """End a name for ever, and cut its sessions at once.

        Args:
            name: whose.
            closed: True if the peer left by itself.

        Returns:
            How many sessions were cut.

        Raises:
            Refused: ``unknown``.
        """
        async with self.rooms.lock:
            rooms = await self.store.rooms(name)
            await self.store.revoke(name, self.now(), closed=closed)
        failpoints.reach("revocation-committed")
        self.ended += 1
        self.on_end()
        self._forget_routes()
        peer = self.find(name)
        sessions = () if peer is None else peer.sessions
        for session in sessions:
            session.cut("revoked")
        await self.rooms.ended(name, rooms)
        return len(sessions)

    def rekeyed(self, name: str) -> int:
        """Cut the sessions of a peer whose key another one followed.

        Returns:
            How many.
        """
        self.ended += 1
        peer = self.find(name)
        sessions = () if peer is None else peer.sessions
        for session in sessions:
            session.cut("revoked")
        return len(sessions)

    def status(self) -> dict[str, Any]:
        """Describe what is going on, in numbers."""
        sessions = list(self.sessions)
        return {
            "peers": sum(1 for _ in self.online),
            "sessions": len(sessions),
            "listening": sum(
                1 for peer in self.online if peer.mailbox and peer.mailbox.listener is not None
            ),
            "unwritten": self.journal.depth,
            "buffered": sum(session.size for session in sessions),
            "storage": "failing" if self.journal.failed else "ok",
        }

    # --- life ---

    def start(self) -> None:
        """Begin to remove mail whose time ran out."""
        self._expiring = self._reactor.callLater(EXPIRY_SECONDS, self._expire)

    def _expire(self) -> None:
        self._expiring = None
        expiring = Deferred.fromCoroutine(self.expire())
        expiring.addErrback(lambda failure: self.log.failure("expiry.failed", failure))
        expiring.addBoth(self._expired)

    def _expired(self, _: object) -> None:
        if not self.draining:
            self.start()

    async def expire(self) -> int:
        """Remove mail whose time ran out, and tell its senders.

        Returns:
            How many messages.
        """
        total = 0
        while not self.draining:
            try:
                expired = await self.store.expire(self.now(), EXPIRED_AT_ONCE)
            except StorageError:
                break
            if expired:
                failpoints.reach("expiry-committed")
            for item in expired:
                peer = self._peers.get(item.receipt.peer.encode("ascii"))
                if peer is not None and peer.mailbox is not None:
                    share = peer.mailbox.share_of(item.receipt.sender.encode("ascii"))
                    share.subtract(1, item.size)
            self.tell(item.receipt for item in expired)
            total += len(expired)
            if len(expired) < EXPIRED_AT_ONCE:
                break
        self._forget_routes()
        return total

    async def drain(self) -> None:
        """End every session in order: what was taken gets its answer, then CLOSE.

        Returns when all are gone; who waits for a peer that does not answer must set the limit.
        """
        self.draining = True
        self.ended += 1  # whoever is being let in at this moment is looked at again
        if self._expiring is not None:
            self._expiring.cancel()
            self._expiring = None
        for session in list(self.sessions):
            session.hold_reading()
        await self.journal.idle()
        while self._dirty:
            self._flush()
        for session in list(self.sessions):
            session.close("shutdown")
        if any(True for _ in self.sessions):
            gone: Deferred[None] = Deferred()
            self._gone.append(gone)
            await gone
        await self.journal.idle()
