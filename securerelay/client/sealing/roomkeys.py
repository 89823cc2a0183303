"""Others' room keys: taken, asked for when they are missing, and ours given to who misses them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from securerelay.client.journal import Journal
from securerelay.client.sealing.contacts import Contacts
from securerelay.client.sealing.notices import Notices
from securerelay.client.sealing.opener import Arrival, Opener
from securerelay.client.sealing.own import OwnKeys
from securerelay.client.sealing.roomlists import Lists
from securerelay.client.sealing.roomvault import RoomVault, Waiting
from securerelay.client.state import State
from securerelay.errors import RemoteError, SecureRelayError
from securerelay.protocol.sealed import RoomHeader
from securerelay.sealing import resend, roomkey, roomlist, roommessage
from securerelay.sealing.envelope import Opened
from securerelay.sealing.fingerprint import Identity
from securerelay.sealing.resend import KeyRequest
from securerelay.sealing.roomkey import RoomKey
from securerelay.sealing.roomlist import RoomList
from securerelay.sealing.verdicts import Rejected, Verdict

MOST = 4096
"""Keys kept in memory."""
LOOK_AGAIN = 10_000
"""Milliseconds after which the relay is asked again for a list that it did not have."""
ASK_AGAIN = 8 * 3_600_000
"""Milliseconds after which a key is asked for again."""
LOOK = 3600.0
"""Seconds between looks at what still waits for a key."""

Tell = Callable[[str, str, bytes], object]
"""Queues a sealed message that no person sees: to whom, content type, body."""


class RoomKeys:
    """What is sealed for rooms of ours, and the keys that open it.

    Args:
        own: who we are.
        contacts: who wrote.
        lists: who is in which room.
        vault: keeps keys.
        journal: where.
        tell: speaks to other clients.
        notices: tells the user.
        opener: has messages that wait for a key.
        clock: the reactor.
    """

    _log = Logger()

    def __init__(
        self,
        own: OwnKeys,
        contacts: Contacts,
        lists: Lists,
        vault: RoomVault,
        journal: Journal,
        tell: Tell,
        notices: Notices,
        opener: Opener,
        clock: IReactorTime,
    ) -> None:
        self._own = own
        self._contacts = contacts
        self._lists = lists
        self._vault = vault
        self._journal = journal
        self._tell = tell
        self._notices = notices
        self._opener = opener
        self._clock = clock
        self._keys: OrderedDict[bytes, RoomKey] = OrderedDict()
        self._fruitless: dict[str, int] = {}
        self._answered: OrderedDict[tuple[str, bytes], tuple[int, ...]] = OrderedDict()
        self._timer: IDelayedCall | None = None

    # -- messages

    async def open(self, arrival: Arrival, sender: Identity) -> Opened:
        """Open a message that came by a room.

        Raises:
            Rejected: ``list-needed`` or ``key-missing`` if it has to wait; ``removed-member``,
                ``altered`` or ``misdirected``.
        """
        header, name = arrival.header, arrival.delivery.to
        assert isinstance(header, RoomHeader), "chosen by its suite"
        held = await self._lists.load(name)
        newest: RoomList | None = held
        if held is None or header.version > held.version:
            newest = await self._look_for_list(name)
        if newest is None:
            self._look_later()
            raise Rejected(Verdict.LIST_NEEDED, f"no list of {name} is held")
        pin = self._contacts.pin(sender.name)
        follows = () if pin is None else (pin.fp,)
        try:
            mark = roomlist.stand(newest, header.version, sender.fp, follows)
            key = await self._find(header.key_id)
            if key is None:
                raise Rejected(Verdict.KEY_MISSING, header.key_id.hex())
        except Rejected:
            self._look_later()
            raise
        opened = roommessage.unseal(arrival.body, arrival.delivery, lambda _: sender, lambda _: key)
        if mark is not None:
            self._notices.show(
                mark, sender.name, room=name, version=header.version, seq=arrival.delivery.seq
            )
        return opened

    async def _find(self, key_id: bytes) -> RoomKey | None:
        key = self._keys.get(key_id)
        if key is None:
            key = await self._journal.do(lambda state: self._vault.key(state, key_id), write=False)
            if key is not None:
                self._keys[key_id] = key
                if len(self._keys) > MOST:
                    self._keys.popitem(last=False)
        return key

    async def _look_for_list(self, name: str) -> RoomList | None:
        """Ask for a newer list, unless that was in vain just before."""
        held, now = self._lists.newest(name), self._journal.now()
        if 0 <= now - self._fruitless.get(name, -LOOK_AGAIN) < LOOK_AGAIN:
            return held
        found = held
        try:
            found = await self._lists.refresh(name)
        except SecureRelayError as error:
            self._log.info("no list of {room}: {error}", room=name, error=error)
        if found is held:
            if len(self._fruitless) >= MOST:
                self._fruitless.clear()
            self._fruitless[name] = now
        return found

    # -- keys that come

    async def take(self, opened: Opened, arrival: Arrival) -> None:
        """Take a key that a member sent us; one that is not for us is left."""
        body, sender = opened.content.body, opened.sender
        try:
            one = await self._list(*roomkey.meant(body))
            key = roomkey.take(body, sender, self._own.identity, lambda _: one)
        except Rejected as rejected:
            # Without its list it is asked for again once a message names it.
            if rejected.verdict is not Verdict.LIST_NEEDED:
                self._notices.show(rejected.verdict, sender.name)
            return
        now = self._journal.now()

        def job(state: State) -> None:
            asked = any(one.key == key.id for one in self._vault.waiting(state))
            self._vault.add_key(state, key, now, next_one=not asked)

        await self._journal.do(job)
        self._keys[key.id] = key
        await self._opener.retry(key=key.id)

    async def _list(self, room_id: bytes, version: int, list_hash: bytes) -> RoomList | None:
        """Find the list that a key is for, at the relay if need be."""
        one = await self._lists.with_hash(list_hash)
        if one is not None:
            return one
        known = (await self._lists.names()).get(room_id)
        for name in [known] if known else await self._unknown_rooms():
            newest = await self._look_for_list(name)
            if newest is not None and newest.room_id == room_id and version < newest.version:
                try:
                    await self._lists.older(name, version)
                except SecureRelayError as error:
                    self._log.info("no older list of {room}: {error}", room=name, error=error)
        return await self._lists.with_hash(list_hash)

    async def _unknown_rooms(self) -> list[str]:
        """Return the names of rooms that we are in, and whose list we never had."""
        now = self._journal.now()
        if 0 <= now - self._fruitless.get("", -LOOK_AGAIN) < LOOK_AGAIN:
            return []
        self._fruitless[""] = now
        known = set((await self._lists.names()).values())
        try:
            return [name for name in await self._lists.ours() if name not in known]
        except SecureRelayError:
            return []

    # -- keys that are missing

    def connected(self) -> None:
        """Look for what waits, now that there is a connection."""
        self._fruitless.clear()
        self._look_later()

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _look_later(self, seconds: float = resend.KEY_REQUEST_AFTER / 1000) -> None:
        """Look for what waits; sooner if that was to be later."""
        if self._timer is not None and self._timer.active():
            if self._timer.getTime() <= self._clock.seconds() + seconds:
                return
            self._timer.cancel()
        self._timer = self._clock.callLater(seconds, self._look)

    def _look(self) -> None:
        looking = Deferred.fromCoroutine(self._ask())
        looking.addErrback(lambda failure: failure.trap(SecureRelayError) and None)

    async def _ask(self) -> None:
        """Ask for lists and keys that messages wait for, and give those up that waited too long."""
        now = self._journal.now()
        waiting = await self._journal.do(self._vault.waiting, write=False)
        for name in {one.room for one in waiting if one.why == Verdict.LIST_NEEDED.value}:
            if await self._look_for_list(name) is not None:
                await self._opener.retry()
        for one in waiting:
            if now - one.since >= resend.KEPT:
                await self._opener.retry(key=one.key)
            elif one.why == Verdict.KEY_MISSING.value and _due(one, now):
                await self._ask_for(one, now)
        if waiting:
            early = any(not one.asked for one in waiting)
            self._look_later(LOOK_AGAIN / 1000 if early else LOOK)

    async def _ask_for(self, one: Waiting, now: int) -> None:
        members = await self._lists.load(one.room)
        if members is None:
            return
        await self._journal.do(lambda state: self._vault.note_asked(state, one, now))
        if not one.asked:
            self._notices.show(Verdict.KEY_MISSING, one.sender, room=one.room)
        request = KeyRequest(members.room_id, one.key)
        self._tell(one.sender, KeyRequest.CONTENT_TYPE, request.body())

    async def answer(self, opened: Opened, arrival: Arrival) -> None:
        """Give a key of ours to a member who misses it."""
        asker, now = opened.sender, self._journal.now()
        try:
            request = KeyRequest.read(opened.content.body)
            name = (await self._lists.names()).get(request.room_id)
            key = await self._find(request.key_id)
            if name is None or key is None or key.sender != self._own.identity.fp:
                return
            of_key = await self._lists.with_hash(key.list_hash)
            newest = await self._lists.current(name)
        except RemoteError:
            return
        if of_key is None or not resend.may_answer_key(asker.fp, of_key, newest):
            return
        # Whoever asks all the time is not answered all the time.
        before = [
            when
            for when in self._answered.pop((asker.name, key.id), ())
            if now - when < ASK_AGAIN * resend.KEY_REQUESTS_A_DAY
        ]
        answers = len(before) < resend.KEY_REQUESTS_A_DAY
        self._answered[asker.name, key.id] = (*before, now) if answers else tuple(before)
        if len(self._answered) > MOST:
            self._answered.popitem(last=False)
        if answers:
            self._tell(asker.name, roomkey.CONTENT_TYPE, key.body())

    # -- keys that have served their time

    async def drained(self, drained: int | None) -> None:
        """Destroy what nobody needs any more; see :meth:`.RoomVault.destroy`."""

        def job(state: State) -> set[bytes]:
            named = {one.key for one in self._vault.waiting(state)}
            return self._vault.destroy(state, drained, named, self._journal.now())

        for gone in await self._journal.do(job):
            self._keys.pop(gone, None)


def _due(one: Waiting, now: int) -> bool:
    early = one.asked and now - max(one.asked) < ASK_AGAIN
    return not early and resend.may_ask_for_key(one.since, one.asked, now)
