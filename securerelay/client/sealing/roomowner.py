"""Rooms that we sign for: who is a member is what their owner, or an admin of his, signs.

Each change is a new list with the next version.  The relay takes it only if nobody else's came
before, and then everybody goes by it.  Admins are those in the grant that the owner signed; they
pass it on as it is, so that what they may not change stays the owner's: who is an admin.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Collection
from dataclasses import dataclass

from twisted.internet.defer import FirstError, gatherResults
from twisted.python.failure import Failure

from securerelay.client.journal import Journal
from securerelay.client.pages import pages
from securerelay.client.sealing.contacts import Contacts
from securerelay.client.sealing.notices import ASKS_TO_JOIN, Notices
from securerelay.client.sealing.opener import Arrival
from securerelay.client.sealing.own import OwnKeys
from securerelay.client.sealing.roomlists import Call, Lists
from securerelay.crypto import primitives
from securerelay.errors import Refused
from securerelay.names import is_room
from securerelay.protocol import lines
from securerelay.sealing import roomlist
from securerelay.sealing.envelope import Opened
from securerelay.sealing.fingerprint import Identity
from securerelay.sealing.roomlist import RoomList
from securerelay.sealing.verdicts import Rejected

JOIN = "application/vnd.securerelay.join"
"""Asks the owner of a room to be put on its list; the body is the room's name."""
TRIES = 4
"""Lists that are signed in a row while others' come before."""


@dataclass(slots=True)
class Draft:
    """What the next list of a room will say.

    Args:
        members: fingerprints by name.
        admins: who signs besides the owner, fingerprints.
        before: whom the present list names, those who left meanwhile included.
    """

    members: dict[str, bytes]
    admins: set[bytes]
    before: Collection[str]

    def drop(self, name: str) -> None:
        """Have somebody be neither a member nor an admin."""
        self.admins.discard(self.members.pop(name, b""))


Change = Callable[[Draft], None]


class Ownership:
    """What owners and admins of rooms do to them.

    Args:
        own: who signs.
        contacts: who members are.
        lists: the newest lists.
        journal: tells the time.
        call: asks the relay.
        notices: tells the user.
    """

    def __init__(
        self,
        own: OwnKeys,
        contacts: Contacts,
        lists: Lists,
        journal: Journal,
        call: Call,
        notices: Notices,
    ) -> None:
        self._own = own
        self._contacts = contacts
        self._lists = lists
        self._journal = journal
        self._call = call
        self._notices = notices

    @property
    def _me(self) -> Identity:
        return self._own.identity

    async def create(
        self, name: str, peers: Collection[str], join: str | None = None, post: str | None = None
    ) -> dict[str, typing.Any]:
        """Make a room with a list of members.

        Args:
            name: the room's.
            peers: members besides ourselves.
            join: ``invitation`` or ``open``; None for the relay's default.
            post: ``members`` or ``owner``; None for the relay's default.

        Returns:
            What the relay says of it.

        Raises:
            Refused: ``unknown``, ``name-taken``, ``too-many``, ...; a verdict's name if a peer's
                keys may not be used as they are.
        """
        members = await self._fingerprints(peers)
        rules = {key: value for key, value in (("join", join), ("post", post)) if value}
        await self._call("room.create", {"room": name, **rules})
        await self._lists.forget(name)  # one of that name that was deleted
        room_id = primitives.random_bytes(roomlist.ROOM_ID_SIZE)
        return await self._publish(
            name,
            room_id=room_id,
            version=1,
            owner=self._me.fp,
            grant=roomlist.build_grant(self._own.author, room_id, 1, ()),
            members={self._me.name: self._me.fp, **members},
        )

    async def add(self, name: str, peers: Collection[str]) -> dict[str, typing.Any]:
        """Make peers members; who is one already is listed with the key that we know now.

        Raises:
            Rejected: the present list may not be used.
            Refused: ``unknown``, ``not-permitted``, ``unlisted`` for a room without a list, ...; a
                verdict's name if a peer's keys may not be used as they are.
        """
        added = await self._fingerprints(peers)
        return await self._change(name, lambda draft: draft.members.update(added))

    async def remove(self, name: str, peers: Collection[str]) -> dict[str, typing.Any]:
        """Make peers members no more, nor admins: all of them, or none.

        Raises:
            Rejected: the present list may not be used.
            Refused: ``unknown`` for who is no member, ``not-permitted``, ``unlisted``, ...
        """
        if self._me.name in peers:
            raise Refused("not-permitted", "nobody removes himself: leave the room, or delete it")

        def without(draft: Draft) -> None:
            for peer in peers:
                if peer not in draft.before:
                    raise Refused("unknown", f"{peer} is no member of {name}")
                draft.drop(peer)

        return await self._change(name, without)

    async def appoint(self, name: str, peers: Collection[str]) -> dict[str, typing.Any]:
        """Make members admins, who add and remove members as we do.

        Raises:
            Rejected: the present list may not be used.
            Refused: ``unknown`` for who is no member, ``too-many``, ``not-permitted`` unless the
                room is ours, ``unlisted``, ...
        """

        def more(draft: Draft) -> None:
            for peer in peers:
                if peer not in draft.members:
                    raise Refused("unknown", f"{peer} is no member of {name}")
                draft.admins.add(draft.members[peer])

        return await self._change(name, more)

    async def dismiss(self, name: str, peers: Collection[str]) -> dict[str, typing.Any]:
        """Make admins mere members; who is no admin is passed over.

        Raises:
            Rejected: the present list may not be used.
            Refused: ``not-permitted`` unless the room is ours, ``unlisted``, ...
        """

        def fewer(draft: Draft) -> None:
            draft.admins.difference_update(draft.members.get(peer, b"") for peer in peers)

        return await self._change(name, fewer)

    def signs(self, one: RoomList) -> bool:
        """Tell whether we may sign the list that follows one."""
        if self._owns(one):
            return any(map(one.has, self._own.fps))
        return self._me.fp in one.grant.admins and one.has(self._me.fp)

    def _owns(self, one: RoomList) -> bool:
        """Tell whether a room is ours, perhaps from when we had other keys."""
        return one.owner in self._own.fps

    async def settle(self, name: str) -> None:
        """Sign a list without those who left, and with the keys by which others were followed.

        Raises:
            Rejected: the present list may not be used.
            Refused: ``unlisted``, ...
        """
        one = await self._lists.refresh(name)
        if not self.signs(one):
            return
        gone = one.members.keys() - await self._present(name)
        # Who was taken off by an admin's hand is still in the grant, which is the owner's.
        granted = set(one.grant.admins) - set(one.members.values())
        await self._contacts.look_up(one.members)
        moved = any(
            self._now(member, fp) != fp
            for member, fp in one.members.items()
            if fp != one.owner or self._owns(one)
        )
        if gone or moved or (granted and self._owns(one)):
            await self._change(name, lambda draft: None)

    async def _change(self, name: str, change: Change) -> dict[str, typing.Any]:
        tries = TRIES
        while True:
            before = await self._lists.refresh(name)
            if not self.signs(before):
                raise Refused("not-permitted", f"{name} is not yours, nor are you an admin of it")
            await self._contacts.look_up(before.members)
            draft = self._draft(before, await self._present(name))
            self._check_owner(before, draft)
            admins = set(draft.admins)
            change(draft)
            if draft.admins != admins and not self._owns(before):
                raise Refused("not-permitted", "who is an admin is for the room's owner to say")
            try:
                return await self._sign(before, draft)
            except Refused as refusal:
                tries -= 1
                if refusal.code != "room-changed" or not tries:
                    raise

    def _draft(self, before: RoomList, present: Collection[str]) -> Draft:
        """Begin with those who are still here, under the keys that they have by now."""
        draft = Draft({}, set(), before.members)
        for member, fp in before.members.items():
            if member in present:
                draft.members[member] = now = self._now(member, fp)
                if fp in before.grant.admins:
                    draft.admins.add(now)
        return draft

    def _check_owner(self, before: RoomList, draft: Draft) -> None:
        """Refuse to sign what nobody would take: members pinned the owner, and rely on him."""
        for member, fp in before.members.items():
            if self._owns(before) or fp != before.owner:
                continue
            if draft.members.get(member) != fp:
                became = "has new keys, and" if member in draft.members else "is gone, who alone"
                raise Refused(
                    "not-permitted",
                    f"the owner of {before.name} {became} has to sign the next list of members; "
                    "without him, make another room",
                )

    async def _sign(self, before: RoomList, draft: Draft) -> dict[str, typing.Any]:
        fps = set(draft.members.values())
        owner = self._me.fp if self._owns(before) else before.owner
        if owner not in fps:
            raise Refused("not-permitted", "the owner cannot be removed")
        grant, admins = before.grant.raw, draft.admins & fps - {owner}
        granted = (before.owner, set(before.grant.admins))
        if owner == self._me.fp and (owner, admins) != granted:
            if len(admins) > roomlist.MAX_ADMINS:
                raise Refused("too-many", f"a room has at most {roomlist.MAX_ADMINS} admins")
            number = before.grant.number + 1
            grant = roomlist.build_grant(self._own.author, before.room_id, number, [*admins])
        return await self._publish(
            before.name,
            room_id=before.room_id,
            version=before.version + 1,
            owner=owner,
            grant=grant,
            members=draft.members,
        )

    async def _publish(self, name: str, **values: typing.Any) -> dict[str, typing.Any]:
        author, now = self._own.author, self._journal.now()
        try:
            raw = roomlist.build(author, name=name, time=now, **values)
        except ValueError as error:
            raise Refused("too-many", str(error)) from None
        answer = await self._call("room.publish", {"room": name, "list": lines.encode(raw)})
        await self._lists.take(raw, name)
        return answer

    async def _present(self, name: str) -> set[str]:
        """Return whom the relay has as members: without those who left or were revoked."""
        found: set[str] = set()
        asking = pages(
            lambda after: self._call("room.members", {"room": name, "after": after}), "members"
        )
        async for answer in asking:
            found.update(answer["members"])
        return found

    async def _fingerprints(self, peers: Collection[str]) -> dict[str, bytes]:
        """Return whom peers' names mean, after a look at their present keys."""
        names = [name for name in peers if name != self._me.name]
        asking = [self._contacts.want(name).addErrback(_said_of, name) for name in names]
        try:
            found = await gatherResults(asking, consumeErrors=True)
        except FirstError as first:
            first.subFailure.raiseException()
        return {name: peer.bound for name, peer in zip(names, found, strict=True)}

    def _now(self, name: str, fp: bytes) -> bytes:
        """Return the fingerprint that a list's next one has for a member.

        It is the one that followed, if its contact's pin has moved, or if we are it.
        """
        if fp in self._own.fps:
            return self._me.fp
        pin = self._contacts.pin(name)
        if pin is not None and any(former.identity.fp == fp for former in pin.former):
            return pin.fp
        return fp

    # -- those who ask

    async def asked(self, opened: Opened, arrival: Arrival) -> None:
        """Show that somebody asks to be in a room of ours."""
        name = opened.content.body
        if is_room(name):
            one = await self._lists.load(name.decode("ascii"))
            if one is not None and self._owns(one):
                self._notices.show(ASKS_TO_JOIN, opened.sender.name, room=one.name)


def _said_of(failure: Failure, name: str) -> Failure:
    """Say of whom something was refused."""
    if isinstance(failure.value, Rejected):
        words = failure.value.verdict.words(peer=name, since="more than 30 days ago")
        raise Refused(failure.value.code, words)
    return failure
