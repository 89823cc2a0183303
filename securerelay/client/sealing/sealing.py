"""Sealing as a client has it: keys, contacts, the way out and the way in, joined to a session."""

from __future__ import annotations

import typing
from collections.abc import Callable, Collection, Iterable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from securerelay.client.calls import Event
from securerelay.client.entry import Entry, Letter
from securerelay.client.inbox import Inbox
from securerelay.client.journal import Journal
from securerelay.client.outbox import Outbox
from securerelay.client.sealing import held
from securerelay.client.sealing.contacts import Contacts
from securerelay.client.sealing.keylog import KeyLog
from securerelay.client.sealing.notices import Notices
from securerelay.client.sealing.opener import Opener
from securerelay.client.sealing.own import Call, OwnKeys
from securerelay.client.sealing.pen import SealingPen
from securerelay.client.sealing.reading import Reading
from securerelay.client.sealing.resending import Resending
from securerelay.client.sealing.roomsealing import RoomSealing
from securerelay.client.sealing.sealer import Sealer
from securerelay.client.sealing.vault import Vault
from securerelay.client.state import State
from securerelay.identity.profile import Profile
from securerelay.protocol.connection import Welcome
from securerelay.sealing import prekeys
from securerelay.sealing.resend import Read, Resend

DEFAULT_TYPE = "application/octet-stream"
BROADCAST = "@everyone"
"""The relay's own room of all its peers, which is never sealed: nobody lists its members."""


class Sealing:
    """The sealing of one client.

    Args:
        profile: enrolled; its key has been had.
        journal: the profile's.
        clock: the reactor.
        plain: peers and rooms with whom messages are not sealed.
        proofs: whether new contacts' certificates have to be in the relay's key log.
        read_receipts: whether those who ask for it are told that we have read something.

    Attributes:
        vault: what is kept.
        journal: where.
        own: our keys.
        contacts: those of others.
        sealer: the way out.
        opener: the way in.
        rooms: what belongs to rooms in all of this.
        log: the relay's key log.
        reading: what was read.
        notices: tells the user.
    """

    _log = Logger()

    def __init__(
        self,
        profile: Profile,
        journal: Journal,
        clock: IReactorTime,
        plain: Collection[str] = (),
        proofs: bool = True,
        read_receipts: bool = True,
    ) -> None:
        self._clock = clock
        self._ask: Call | None = None
        self._welcome: Callable[[], Welcome | None] = lambda: None
        self._tell: Callable[[Event], None] = lambda event: None
        self._refused: Callable[[Entry, str], None] = lambda entry, code: None
        self._listen: Callable[[], None] = lambda: None
        self._timer: IDelayedCall | None = None
        self._listened: tuple[int, int] | None = None
        self.journal = journal
        self.vault = Vault(profile.relay_id, profile.sealing_keys().data_key)
        self.notices = Notices(self.vault, journal, lambda event: self._tell(event))
        self.own = OwnKeys(profile, self.vault, journal, self.call, self.notices)
        self.contacts = Contacts(
            self.own, profile.ca_spki, self.vault, journal, self.call, self.notices, clock
        )
        self.sealer = Sealer(
            *(self.own, self.contacts, self.vault, journal, self.notices, clock),
            lambda entry, code: self._refused(entry, code),
        )
        self._plain = frozenset((*plain, BROADCAST))
        self.opener = Opener(
            self.own, self.contacts, self.vault, journal, self.notices, plain=self._plain
        )
        self.rooms = RoomSealing(
            *(self.own, self.contacts, self.vault, journal, self.call, self.tell),
            *(self.notices, self.opener, clock),
        )
        self.sealer.rooms = self.rooms.out
        resending = Resending(
            self.own, self.vault, journal, self.notices, self.tell, self.sealer.post
        )
        self.opener.lost = resending.ask
        self.opener.control[Resend.CONTENT_TYPE] = resending.asked
        self.reading = Reading(
            *(self.contacts, journal, clock, self.tell, lambda event: self._tell(event)),
            read_receipts,
        )
        self.opener.shown, self.opener.read = self.reading.shown, self.reading.dealt
        self.opener.control[Read.CONTENT_TYPE] = self.reading.heard
        self.log = KeyLog(profile, journal, self.call, self.notices, self._relay_key)
        self.log.ended = self.contacts.forget_keys
        if proofs:
            self.contacts.log = self.log
        self.sealer.sight = lambda: self.log.seen
        self.opener.told = self.log.heard

    # -- what it is joined to

    def pen(self) -> SealingPen:
        """Return a pen for an outbox."""
        return SealingPen(self.sealer)

    def join(
        self,
        outbox: Outbox,
        inbox: Inbox,
        tell: Callable[[Event], None],
        refused: Callable[[Entry, str], None],
        listen: Callable[[], None],
    ) -> None:
        """Take part in a session.

        Args:
            outbox: what it sends, with our pen.
            inbox: what it receives, with our opener.
            tell: passes an event to whoever reads them.
            refused: hears of messages that are given up and that nobody waits for.
            listen: asks the relay for the mailbox again, if it is being listened to.
        """
        self.sealer.outbox = outbox
        self.opener.inbox = inbox
        self._tell, self._refused, self._listen = tell, refused, listen

    def reach(self, ask: Call, welcome: Callable[[], Welcome | None] = lambda: None) -> None:
        """Learn how to ask the relay something, and what it said when it let us in."""
        self._ask, self._welcome = ask, welcome

    def _relay_key(self) -> bytes | None:
        welcome = self._welcome()
        return welcome.relay_spki if welcome is not None else None

    async def call(self, method: str, parameters: dict[str, typing.Any]) -> dict[str, typing.Any]:
        """Ask the relay something."""
        assert self._ask is not None, "a client has joined"
        return await self._ask(method, parameters)

    def letter(self, to: str, content_type: str | None) -> Letter | None:
        """Return what a new message to somebody has besides its body; None if it is not sealed."""
        if to in self._plain or not self.sealer.seals(to):
            return None
        return Letter(content_type or DEFAULT_TYPE, self.journal.now())

    def tell(self, to: str, content_type: str, body: bytes) -> None:
        """Say something to another client that is not for people; nobody waits for it."""
        letter = Letter(content_type, self.journal.now(), hidden=True)
        self.sealer.post(Entry(to.encode(), body, None, False, letter=letter))
        self.sealer.wake()

    # -- the course of a connection

    def connected(self) -> None:
        """A connection began."""
        self.rooms.connected()
        self._renew_soon()
        welcome = self._welcome()
        if welcome is not None:
            looking = Deferred.fromCoroutine(self.log.look(welcome.log.get("head")))
            looking.addErrback(self._failed)

    def heard(self, event: Event) -> None:
        """Take an event of the relay's."""
        self.rooms.heard(event)

    def fail(self, error: Exception) -> None:
        """There will be no connection any more."""
        self.sealer.fail(error)
        self.rooms.close()
        self.reading.stop()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _renew_soon(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._clock.callLater(prekeys.EVERY / 1000, self._every_hour)
        Deferred.fromCoroutine(self._renew()).addErrback(self._failed)

    def _every_hour(self) -> None:
        # Whether all that came has been processed can be told only from what is said from now on.
        self._listen()
        self._renew_soon()

    async def _renew(self) -> None:
        try:
            await self.own.publish()
        finally:
            self.sealer.connected()
        await self.own.drained(0)
        await self.opener.retry()

    def _failed(self, failure: Failure) -> None:
        self._log.info("what belongs to a connection failed: {error}", error=failure.value)

    # -- what was processed

    def listened(self, first: int, last: int) -> None:
        """The relay serves our mailbox, and has messages from the first to the last."""
        self._listened = (self.journal.now(), last if first <= last else 0)
        self.processed()

    def processed(self) -> None:
        """Messages were dealt with: destroy what nobody needs any more."""
        if self._listened is None:
            return
        at, last = self._listened
        if self.opener.inbox.acked >= last and not self.journal.closed:
            self._listened = None
            Deferred.fromCoroutine(self.own.drained(at)).addErrback(self._failed)
            self.rooms.drained(at)

    # -- what others left

    async def left(self) -> dict[str, list[str]]:
        """List the held streams that other programs began, by owner."""
        found: dict[str, list[str]] = {}
        journal = self.journal
        for owner, stream in await journal.do(
            lambda state: held.left(state, journal.owner), write=False
        ):
            found.setdefault(owner, []).append(stream)
        return found

    async def adopt(self, streams: Iterable[str]) -> None:
        """Take over held streams whose owner is gone; we have its lock."""
        for stream in streams:
            spots = await self.journal.do(_taker(stream, self.journal.own()))
            self.sealer.adopt(spots)


def _taker(stream: str, owner: str) -> Callable[[State], list[tuple[str, held.Spot]]]:
    return lambda state: held.take_over(state, stream, owner)
