"""Rooms: who is in them, who may change them, and the way to their members (SR1 section 5).

What the text of the protocol leaves open is decided so:

* A room belongs to its owner: he adds and removes members, sets who may post and who may join,
  hands the room over, or deletes it.  He cannot leave while it is his.
* Who is neither a member nor could join does not learn that a room exists: it is ``unknown``.
* Changes happen one after the other.  One that names another version than the room's is refused
  with ``room-changed``; one that changes nothing leaves the version.
* A message goes to those who are members when the store takes it.  If they changed on its way, it
  is answered ``room-changed``; who had it already drops it when it comes again.
* Nobody is asked before he is added, so nobody is added whom the owner may not see and send to, and
  whoever does not want to be there leaves.
* Nobody is in more rooms than :attr:`PeerLimits.rooms`, whoever put him there.
* The name of a room that was deleted is free again.
* A room whose owner was revoked stays as it is until the administrator gives it to a member.
* ``@everyone`` is the relay's: all its peers, and only those whom the operator names may post.
* A room for which a list of its members was signed has those whom the newest list names, but for
  who has left or ended since.  From then on only the next list adds and removes members.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from twisted.internet.defer import DeferredLock

from securerelay import names
from securerelay.errors import Refused
from securerelay.protocol import messages
from securerelay.protocol.link import encode_json
from securerelay.relay import config, lists
from securerelay.relay.audience import Audience
from securerelay.relay.screen import for_room
from securerelay.sealing import roomlist
from securerelay.store.rows import RoomListRow, RoomRow

if TYPE_CHECKING:
    from securerelay.relay.peer import Peer
    from securerelay.relay.router import Router

EVERYONE = "@everyone"
RELAY = "relay"
"""Who decides about :data:`EVERYONE`, in the place of its rules."""


class Rooms:
    """The rooms of one relay.

    Args:
        router: who is here.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self.lock = DeferredLock()
        """Held by whoever changes a room, or ends a peer."""
        self._changes = 0

    # --- looking ---

    async def find(self, name: str, caller: str) -> RoomRow:
        """Find a room as a peer may see it.

        Raises:
            Refused: ``unknown``.
        """
        row = await self._room(name)
        if row is None or not _visible(row, caller):
            raise Refused("unknown", f"there is no room {name} for you")
        return row

    async def visible(self, caller: str) -> list[RoomRow]:
        """List the rooms that a peer is in or could join, sorted."""
        rows = [row for row in await self._router.store.rooms() if _visible(row, caller)]
        everyone = await self._room(EVERYONE)
        return sorted(rows if everyone is None else [*rows, everyone], key=lambda row: row.name)

    async def _room(self, name: str) -> RoomRow | None:
        if name != EVERYONE:
            return await self._router.store.room(name)
        if not self._router.config.rooms.everyone:
            return None
        peers = await self._router.store.peers()
        active = tuple(row.name for row in peers if row.state == "active")
        return RoomRow(EVERYONE, "", 0, RELAY, RELAY, 0, active)

    # --- sending ---

    async def route(self, sender: Peer, name: str) -> Audience | bytes:
        """Find the way from a sender to a room's members, or the code of a final refusal."""
        router = self._router
        while True:
            before = self._changes, router.ended
            row = await self._room(name)
            if row is None or not _visible(row, sender.text):
                return b"unknown"
            if not self._may_post(row, sender.text):
                return b"not-permitted"
            peers = [router.peer(member) for member in row.members if member != sender.text]
            mailboxes = [await router.mailbox(peer) for peer in peers]
            # Nothing changed meanwhile, and none of them was forgotten.
            if before == (self._changes, router.ended) and all(
                router.find(peer.text) is peer for peer in peers
            ):
                shares = [mailbox.share_of(sender.name) for mailbox in mailboxes]
                sealed = router.config.policy.must_seal(sender.text, name)
                return Audience(shares, row.version or None, for_room(row.listed, sealed))

    def _may_post(self, row: RoomRow, sender: str) -> bool:
        if row.name == EVERYONE:
            posters = self._router.config.rooms.everyone
            return sender in posters or config.EVERYONE in posters
        return sender == row.owner or (row.post == "members" and sender in row.members)

    # --- changing ---

    async def create(self, caller: str, name: str, join: str, post: str) -> RoomRow:
        """Make a room.

        Raises:
            Refused: ``name-taken``, or ``too-many`` if the caller is in too many.
            BadName: if no room can have this name.
        """
        names.check_new_room(name)
        router = self._router
        async with self.lock:
            await self._may_enter(caller)
            row = await router.store.room_create(name, caller, router.now(), join=join, post=post)
            self._changed(row, joined=(caller,))
        return row

    async def add(
        self, caller: str, name: str, peers: Sequence[str], version: int | None
    ) -> RoomRow:
        """Make peers members.

        Raises:
            Refused: ``unknown`` (the room, or a peer), ``not-permitted``, ``too-many`` (members, or
                rooms of one of them), ``room-changed``, ``signed``.
        """
        async with self.lock:
            before = _unsigned(await self._owned(caller, name))
            await self._may_add(caller, before, set(before.members) | set(peers))
            after = await self._router.store.room_change(name, add=peers, version=version)
            return self._done(before, after)

    async def _may_add(self, caller: str, room: RoomRow, members: Collection[str]) -> None:
        """Refuse unless a caller may have a room go on with these members."""
        policy = self._router.config.policy
        if len(members) > self._router.config.rooms.members:
            raise Refused("too-many", "the room would have too many members")
        for peer in sorted(set(members) - set(room.members)):
            if not policy.may_see(caller, peer):
                raise Refused("unknown", f"there is no peer {peer}")
            await self._may_enter(peer)
            if not policy.may_send(caller, peer):
                raise Refused("not-permitted", f"you may not send to {peer}")

    async def publish(self, caller: str, name: str, raw: bytes, ca_spki: bytes) -> RoomRow:
        """Go on with the room's next signed list, and with the members whom it names.

        Args:
            caller: who signed it, the owner or one whom the owner granted that.
            name: the room.
            raw: the list.
            ca_spki: the key of the relay's authority, SubjectPublicKeyInfo in DER.

        Raises:
            Refused: as :meth:`add`, also ``too-many`` if the list changes too often; and what
                :func:`securerelay.relay.lists.check` finds.
        """
        store, now = self._router.store, self._router.now()
        one = roomlist.parse(raw, name)
        async with self.lock:
            before = await self.find(name, caller)
            if name == EVERYONE:
                raise Refused("not-permitted", f"{EVERYONE} is for every peer")
            if caller not in before.members:
                raise Refused("not-permitted", f"you are not in {name}")
            if one.version != before.listed + 1:
                raise Refused("room-changed", f"the newest list has version {before.listed}")
            await lists.check(store, ca_spki, before, caller, one)
            await self._may_add(caller, before, one.members)
            row = RoomListRow(name, one.version, raw)
            most = self._router.config.rooms.lists
            after = await store.room_publish(row, tuple(one.members), now, most)
            return self._done(before, after)

    async def signed_list(self, caller: str, name: str, version: int | None) -> RoomListRow | None:
        """Find a signed list, for who may see the room or is in that list.

        Args:
            caller: who asks.
            name: the room.
            version: of the list; None for the newest.
        """
        found = await self._router.store.room_list(name, version)
        row = None if found is None else await self._room(name)
        if found is None or row is None:
            return None
        if _visible(row, caller) or caller in roomlist.parse(found.raw, name).members:
            return found
        return None

    async def remove(
        self, caller: str, name: str, peers: Sequence[str], version: int | None
    ) -> RoomRow:
        """Make peers members no more: all of them, or none.

        Raises:
            Refused: ``unknown`` (the room, or one is no member), ``not-permitted``,
                ``room-changed``, ``signed``.
        """
        async with self.lock:
            before = _unsigned(await self._owned(caller, name))
            if before.owner in peers:
                raise Refused("not-permitted", "the owner cannot be removed")
            for peer in peers:
                if peer not in before.members:
                    raise Refused("unknown", f"{peer} is no member of {name}")
            after = await self._router.store.room_change(name, remove=peers, version=version)
            return self._done(before, after)

    async def change(
        self,
        caller: str,
        name: str,
        *,
        join: str | None,
        post: str | None,
        owner: str | None,
        version: int | None,
    ) -> RoomRow:
        """Set who may join and who may post, or give the room to another member.

        Raises:
            Refused: ``unknown`` (the room, or the new owner is no member), ``not-permitted``,
                ``room-changed``, ``signed`` (for another owner).
        """
        async with self.lock:
            before = await self._owned(caller, name)
            if owner is not None and before.listed:
                raise Refused(
                    "signed",
                    "a sealed room cannot be handed over, for its members rely on its owner's "
                    "signature; name admins, or make another room",
                )
            if owner is not None and owner not in before.members:
                raise Refused("unknown", f"{owner} is no member of {name}")
            after = await self._router.store.room_change(
                name, join=join, post=post, owner=owner, version=version
            )
            return self._done(before, after)

    async def give(self, name: str, owner: str) -> RoomRow:
        """Give a room to one of its members by the administrator's word.

        Raises:
            Refused: ``unknown`` (the room, or the new owner is no member).
        """
        async with self.lock:
            before = await self._router.store.room(name)
            if before is None or owner not in before.members:
                raise Refused("unknown", f"there is no room {name} with a member {owner}")
            after = await self._router.store.room_change(name, owner=owner)
            return self._done(before, after)

    async def join(self, caller: str, name: str, version: int | None) -> RoomRow:
        """Become a member of a room that is open, or again of one whose signed list names one.

        Raises:
            Refused: ``unknown``, ``too-many``, ``room-changed``, ``signed``.
        """
        async with self.lock:
            before = await self._enterable(caller, name)
            if caller not in before.members:
                await self._may_enter(caller)
                if len(before.members) >= self._router.config.rooms.members:
                    raise Refused("too-many", "the room is full")
                after = await self._router.store.room_change(name, add=(caller,), version=version)
                return self._done(before, after)
        return before

    async def _enterable(self, caller: str, name: str) -> RoomRow:
        """Find a room that one may enter by oneself."""
        row = await self._room(name)
        signed = await self._router.store.room_list(name) if row is not None else None
        if row is None or signed is None:
            return await self.find(name, caller)
        if caller in roomlist.parse(signed.raw, name).members:
            return row
        return _unsigned(await self.find(name, caller))

    async def leave(self, caller: str, name: str, version: int | None) -> RoomRow:
        """Be a member no more.

        Raises:
            Refused: ``unknown``, ``not-permitted`` for the owner, ``room-changed``.
        """
        async with self.lock:
            before = await self.find(name, caller)
            if caller == before.owner:
                raise Refused("not-permitted", "delete the room, or hand it over if it is plain")
            if before.name == EVERYONE:
                raise Refused("not-permitted", f"{EVERYONE} is for every peer")
            after = await self._router.store.room_change(name, remove=(caller,), version=version)
            return self._done(before, after)

    async def delete(self, caller: str, name: str, version: int | None) -> None:
        """Remove a room; mail that was sent to it stays.

        Raises:
            Refused: ``unknown``, ``not-permitted``, ``room-changed``.
        """
        async with self.lock:
            before = await self._owned(caller, name)
            await self._router.store.room_delete(name, version)
            gone = replace(before, version=before.version + 1, members=())
            self._changed(gone, left=before.members)

    async def _owned(self, caller: str, name: str) -> RoomRow:
        row = await self.find(name, caller)
        if row.owner != caller:
            raise Refused("not-permitted", f"{name} is not yours")
        return row

    async def _may_enter(self, peer: str) -> None:
        store = self._router.store
        row = await store.lookup(peer)
        if row is None or row.state != "active":
            raise Refused("unknown", f"there is no peer {peer}")
        most = self._router.config.limits_of(peer).rooms
        if await store.room_count(peer) >= most:
            raise Refused("too-many", f"{peer} is in {most} rooms, and may not be in more")

    # --- telling ---

    async def ended(self, name: str, rooms: Iterable[RoomRow]) -> None:
        """Tell that a peer who ended for ever has left the rooms it was in."""
        for row in rooms:
            now = await self._router.store.room(row.name)
            if now is not None:
                self._changed(now, left=(name,))

    def enrolled(self) -> None:
        """There is one peer more."""
        self._changes += 1
        self._router.forget_route(EVERYONE.encode("ascii"))

    def _done(self, before: RoomRow, after: RoomRow) -> RoomRow:
        if after != before:
            joined = set(after.members) - set(before.members)
            left = set(before.members) - set(after.members)
            self._changed(after, sorted(joined), sorted(left))
        return after

    def _changed(self, row: RoomRow, joined: Sequence[str] = (), left: Sequence[str] = ()) -> None:
        """Have senders look the room up again, and tell members who are here, old and new."""
        router = self._router
        self._changes += 1
        router.forget_route(row.name.encode("ascii"))
        told = {
            **describe(row),
            "joined": list(joined),
            "left": list(left),
            "time": router.now(),
        }
        event = messages.event(b"room", encode_json(told))
        for member in (*row.members, *left):
            peer = router.find(member)
            for session in peer.sessions if peer is not None else ():
                session.write(event)


def describe(row: RoomRow) -> dict[str, str | int | None]:
    """Describe a room without its members."""
    return {
        "room": row.name,
        "owner": row.owner or None,
        "version": row.version,
        "join": row.join,
        "post": row.post,
        "listed": row.listed,
    }


def _visible(row: RoomRow, caller: str) -> bool:
    return row.join == "open" or caller in row.members


def _unsigned(row: RoomRow) -> RoomRow:
    if row.listed:
        raise Refused("signed", f"the members of {row.name} are those of the list that is signed")
    return row
