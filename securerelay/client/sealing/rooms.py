"""Rooms as recipients: whoever sends to one gets a key to its members first.

A room key is made for a list of members, and goes to each of them in a message of its own before
anything is sealed under it.  It serves until the list changes, for a day, or a thousand messages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred, succeed

from securerelay.client.journal import Journal
from securerelay.client.sealing.contacts import Contacts
from securerelay.client.sealing.notices import Notices
from securerelay.client.sealing.own import OwnKeys
from securerelay.client.sealing.roomkeys import Tell
from securerelay.client.sealing.roomlists import Lists
from securerelay.client.sealing.roomvault import OwnKey, RoomVault
from securerelay.client.state import State
from securerelay.crypto import primitives
from securerelay.errors import Refused, SecureRelayError
from securerelay.sealing import roomkey, roomlist, roommessage
from securerelay.sealing.plaintext import Content
from securerelay.sealing.roomkey import RoomKey
from securerelay.sealing.roomlist import RoomList
from securerelay.sealing.verdicts import Verdict


@dataclass(slots=True)
class Room:
    """A room that can be sealed for at this moment (a :class:`~.contacts.Recipient`).

    Args:
        rooms: count what is sealed.
        key: our own key, which the members have or will have.
        made: when, Unix ms.
        sealed: messages sealed under it, in all.
    """

    rooms: Rooms = field(repr=False)
    key: RoomKey
    made: int
    sealed: int

    @property
    def bound(self) -> bytes:
        """The room's id."""
        return self.key.room_id

    def seal(self, content: Content) -> bytes:
        """Return a room message; each has a salt of its own."""
        self.sealed += 1
        self.rooms.count(self.key.id)
        salt = primitives.random_bytes(roommessage.SALT_SIZE)
        return roommessage.seal(content, self.rooms.own.author, self.key, salt)

    def serves(self, newest: RoomList, now: int) -> bool:
        """Tell whether one more message may be sealed."""
        return self.key.serves(newest, self.made, self.sealed, now)


class Rooms:
    """The rooms that a profile sends to.

    Args:
        own: who seals.
        contacts: who members are.
        lists: who is a member.
        vault: keeps keys.
        journal: where.
        tell: takes keys to members.
        notices: tells the user.
    """

    def __init__(
        self,
        own: OwnKeys,
        contacts: Contacts,
        lists: Lists,
        vault: RoomVault,
        journal: Journal,
        tell: Tell,
        notices: Notices,
    ) -> None:
        self.own = own
        self._contacts = contacts
        self._lists = lists
        self._vault = vault
        self._journal = journal
        self._tell = tell
        self._notices = notices
        self._rooms: dict[str, Room] = {}
        self._wanted: dict[str, list[Deferred[Room]]] = {}
        self._counts: dict[bytes, int] = {}

    # -- for the sealer

    def find(self, to: str) -> Room | None:
        """Return a room that can be sealed for at this moment."""
        room, newest = self._rooms.get(to), self._lists.checked(to)
        if room is None or newest is None or not room.serves(newest, self._journal.now()):
            return None
        return room

    def want(self, to: str) -> Deferred[Room]:
        """Make it possible to seal for a room: look at its list, and give the members a key.

        Raises:
            Rejected: through the Deferred: the relay serves a list that may not be relied on.
            Refused: through the Deferred: ``unknown``, ``unlisted`` for a room without a list, or
                ``not-permitted`` if we are not in it.
            ConnectError: through the Deferred: the relay could not be asked.
        """
        room = self.find(to)
        if room is not None:
            return succeed(room)
        waiting: Deferred[Room] = Deferred()
        asked = self._wanted.setdefault(to, [])
        asked.append(waiting)
        if len(asked) == 1:
            making = Deferred.fromCoroutine(self._make(to))
            making.addBoth(lambda result: self._made(to, result))
        return waiting

    def _made(self, to: str, result: object) -> None:
        for one in self._wanted.pop(to):
            one.callback(result)  # type: ignore[arg-type]  # a Failure calls the errbacks

    def doubt(self, to: str, code: str) -> None:
        """The relay says that the members have changed."""
        self._lists.doubt(to)

    # -- keys

    async def _make(self, name: str) -> Room:
        newest = await self._lists.current(name)
        me = self.own.identity.fp
        if not newest.has(me):
            raise Refused("not-permitted", f"you are not in the signed list of members of {name}")
        await self._note_counts()
        now = self._journal.now()
        own = await self._journal.do(
            lambda state: self._vault.own_key(state, newest, now), write=False
        )
        if own is None:
            own = await self._give_key(newest, now)
        self._rooms[name] = room = Room(self, own.key, own.made, own.sealed)
        return room

    async def _give_key(self, newest: RoomList, now: int) -> OwnKey:
        """Make a key and send it to the members, each of whom is pinned first."""
        me = self.own.identity
        others = {name: fp for name, fp in newest.members.items() if fp != me.fp}
        # In few calls, and with keys that are fresh, so that the room key goes before the message.
        await self._lists.meet(others, fresh=True)
        ready, unknown, different = roomlist.recipients(newest, me.fp, self._pinned)
        for name in different:
            self._notices.show(Verdict.MEMBER_KEY_DIFFERS, name, room=newest.name)
        for name in unknown:
            self._notices.show(Verdict.BUNDLE_BAD, name, room=newest.name)
        key = RoomKey.make(me.fp, newest, primitives.random_bytes(roomkey.KEY_SIZE))

        def keep(state: State) -> None:
            self._vault.add_key(state, key, now, own=True)

        # All in one turn, so that key and messages reach the disk together.
        keeping = self._journal.do(keep)
        for name in ready:
            self._tell(name, roomkey.CONTENT_TYPE, key.body())
        await keeping
        return OwnKey(key, now, 0)

    def _pinned(self, name: str) -> bytes | None:
        pin = self._contacts.pin(name)
        return None if pin is None else pin.fp

    # -- how many messages a key has sealed

    def count(self, key_id: bytes) -> None:
        """Count a message; it is on disk a little later."""
        if not self._counts:
            noting = self._journal.prepare(self._take_counts, soon=False)
            noting.addErrback(lambda failure: failure.trap(SecureRelayError) and None)
        self._counts[key_id] = self._counts.get(key_id, 0) + 1

    def _take_counts(self) -> Callable[[State], None]:
        counts, self._counts = self._counts, {}

        def job(state: State) -> None:
            for key_id, count in counts.items():
                self._vault.note_sealed(state, key_id, count)

        return job

    async def _note_counts(self) -> None:
        if self._counts:
            await self._journal.prepare(self._take_counts)
