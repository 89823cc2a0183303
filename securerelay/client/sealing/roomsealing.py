"""Rooms as a client has them: lists, keys, the way out and the way in, and rooms of our own."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from securerelay.client.calls import Event
from securerelay.client.journal import Journal
from securerelay.client.sealing.contacts import Contacts
from securerelay.client.sealing.notices import Notices
from securerelay.client.sealing.opener import Opener
from securerelay.client.sealing.own import OwnKeys
from securerelay.client.sealing.roomkeys import RoomKeys, Tell
from securerelay.client.sealing.roomleavers import Leavers
from securerelay.client.sealing.roomlists import Call, Lists
from securerelay.client.sealing.roomowner import JOIN, Ownership
from securerelay.client.sealing.rooms import Rooms
from securerelay.client.sealing.roomvault import RoomVault
from securerelay.client.sealing.vault import Vault
from securerelay.errors import SecureRelayError
from securerelay.protocol.sealed import ROOM
from securerelay.sealing import roomkey
from securerelay.sealing.resend import KeyRequest


class RoomSealing:
    """What seals for rooms, and opens what comes by them.

    Args:
        own: who we are.
        contacts: who the members are.
        vault: what is kept.
        journal: where.
        call: asks the relay.
        tell: speaks to other clients.
        notices: tells the user.
        opener: opens; it learns how here.
        clock: the reactor.

    Attributes:
        lists: who is in which room.
        keys: others' keys.
        out: rooms as recipients.
        owner: changes rooms of our own.
        leavers: takes those off who left.
    """

    def __init__(
        self,
        own: OwnKeys,
        contacts: Contacts,
        vault: Vault,
        journal: Journal,
        call: Call,
        tell: Tell,
        notices: Notices,
        opener: Opener,
        clock: IReactorTime,
    ) -> None:
        kept = RoomVault(vault)
        self.lists = Lists(contacts, kept, journal, call, notices)
        self.keys = RoomKeys(own, contacts, self.lists, kept, journal, tell, notices, opener, clock)
        self.out = Rooms(own, contacts, self.lists, kept, journal, tell, notices)
        self.owner = Ownership(own, contacts, self.lists, journal, call, notices)
        self.leavers = Leavers(own.identity.name, self.lists, self.owner, notices, clock)
        opener.suites[ROOM] = self.keys.open
        opener.control[roomkey.CONTENT_TYPE] = self.keys.take
        opener.control[KeyRequest.CONTENT_TYPE] = self.keys.answer
        opener.control[JOIN] = self.owner.asked

    def connected(self) -> None:
        """A connection began: news of rooms may have been missed."""
        self.lists.doubt()
        self.keys.connected()
        self.leavers.connected()

    def heard(self, event: Event) -> None:
        """Take an event of the relay's: a room may have another list now."""
        name, listed = event.data.get("room"), event.data.get("listed")
        if event.kind == "room" and isinstance(name, str):
            held = self.lists.newest(name)
            if held is not None and listed != held.version:
                self.lists.doubt(name)
            self.leavers.heard(event)

    def drained(self, since: int) -> None:
        """Destroy keys that nobody needs any more; see :meth:`.OwnKeys.drained`."""
        destroying = Deferred.fromCoroutine(self.keys.drained(since or None))
        destroying.addErrback(lambda failure: failure.trap(SecureRelayError) and None)

    def close(self) -> None:
        """Wait for nothing any more."""
        self.keys.close()
        self.leavers.close()
