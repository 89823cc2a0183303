"""Rooms' lists of members: fetched from the relay, verified, held against what is pinned."""

from __future__ import annotations

import typing
from collections.abc import Awaitable, Callable, Iterable, Mapping

from twisted.internet.defer import Deferred, DeferredList, DeferredLock

from securerelay.client.journal import Journal
from securerelay.client.pages import pages
from securerelay.client.sealing.contacts import Contacts
from securerelay.client.sealing.notices import Notices
from securerelay.client.sealing.roomvault import RoomVault
from securerelay.client.state import State
from securerelay.errors import ConnectError, Refused, RemoteError, TimedOut
from securerelay.protocol import lines
from securerelay.sealing import roomlist
from securerelay.sealing.fingerprint import Identity
from securerelay.sealing.roomlist import RoomList, RoomPin
from securerelay.sealing.verdicts import Rejected, Verdict, require

Call = Callable[[str, "dict[str, typing.Any]"], Awaitable["dict[str, typing.Any]"]]

UNLISTED = "unlisted"
"""The code for a room without a signed list: nothing can be sealed for it."""


class Lists:
    """The newest lists of the rooms of a profile.

    Args:
        contacts: who signs lists.
        vault: what is kept.
        journal: where.
        call: asks the relay.
        notices: tells the user.
        came: called with a room's name when it has a new list.
    """

    def __init__(
        self,
        contacts: Contacts,
        vault: RoomVault,
        journal: Journal,
        call: Call,
        notices: Notices,
        came: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._contacts = contacts
        self._vault = vault
        self._journal = journal
        self._call = call
        self._notices = notices
        self.came = came
        self._lock = DeferredLock()
        self._held: dict[str, tuple[RoomPin, RoomList]] = {}
        self._checked: set[str] = set()
        self._shown: dict[str, Verdict] = {}

    # -- what is held

    def newest(self, name: str) -> RoomList | None:
        """Return the newest list in memory, whether or not the relay was asked lately."""
        held = self._held.get(name)
        return held[1] if held else None

    def checked(self, name: str) -> RoomList | None:
        """Return the newest list if the relay was asked for it since there was a doubt."""
        return self.newest(name) if name in self._checked else None

    def doubt(self, name: str | None = None) -> None:
        """Have the relay asked again before a list is relied on; None for all lists."""
        if name is None:
            self._checked.clear()
        else:
            self._checked.discard(name)

    async def load(self, name: str) -> RoomList | None:
        """Return the newest list, from disk if need be."""
        if name not in self._held:
            held = await self._journal.do(lambda state: self._vault.room(state, name), write=False)
            if held is not None:
                self._held[name] = held
        return self.newest(name)

    async def with_hash(self, list_hash: bytes) -> RoomList | None:
        """Return a list that is held, also an older one, by its hash (48 bytes)."""
        for _, one in self._held.values():
            if one.hash == list_hash:
                return one
        return await self._journal.do(
            lambda state: self._vault.list_of(state, list_hash), write=False
        )

    async def names(self) -> dict[bytes, str]:
        """Return the names of the rooms that are known, by their ids."""
        return await self._journal.do(self._vault.names, write=False)

    async def ours(self) -> list[str]:
        """Ask the relay for the names of the rooms that we are in and that have a list."""
        found: list[str] = []
        asking = pages(
            lambda after: self._call("room.list", {"after": after}),
            "rooms",
            *("room", "member", "listed"),
        )
        async for answer in asking:
            rooms = answer["rooms"]
            found += [one["room"] for one in rooms if one["member"] and one["listed"]]
        return found

    async def forget(self, name: str) -> bool:
        """Forget a room; tells whether it was known."""
        self._held.pop(name, None)
        self.doubt(name)
        return await self._journal.do(lambda state: self._vault.forget(state, name))

    # -- what the relay serves

    async def current(self, name: str) -> RoomList:
        """Return the newest list there is; the relay is asked unless it was lately.

        Raises:
            Rejected: what it serves may not be relied on.
            Refused: ``unknown`` for no room of ours, ``unlisted`` for one without a list.
            ConnectError: it could not be asked.
        """
        return self.checked(name) or await self.refresh(name)

    async def refresh(self, name: str) -> RoomList:
        """Ask the relay for the newest list; as :meth:`current`."""
        await self._lock.acquire()
        try:
            one = await self._fetch(name)
        except Rejected as rejected:
            if self._shown.get(name) is not rejected.verdict:
                self._shown[name] = rejected.verdict
                self._notices.show(rejected.verdict, name)
            raise
        finally:
            self._lock.release()
        self._shown.pop(name, None)
        self._checked.add(name)
        return one

    async def older(self, name: str, version: int) -> RoomList | None:
        """Ask the relay for a list that was followed by others before we had it.

        Returns:
            The list, which is held from now on; None if there is none for us.

        Raises:
            Rejected: as :meth:`take`.
        """
        raw = _served(await self._call("room.fetch", {"lists": [_asked(name, version)]}))
        held = self._held.get(name)
        if raw is None or held is None:
            return None
        pin, newest = held
        one, signers = await self._verified(raw, name)
        owners = {pin.owner}
        for contact in filter(None, map(self._contacts.pin, signers)):
            if contact.fp == pin.owner:
                owners |= {former.identity.fp for former in contact.former}
        require(
            one.room_id == pin.room_id and one.owner in owners,
            Verdict.ROOM_CHANGED_HANDS,
            "an older list of another room or owner",
        )
        require(one.version == version < newest.version, Verdict.LIST_BAD, "of another version")
        now = self._journal.now()
        await self._journal.do(lambda state: self._vault.save_older(state, one, now))
        return one

    async def _fetch(self, name: str) -> RoomList:
        before = await self.load(name)
        raw = _served(await self._call("room.fetch", {"lists": [_asked(name)]}))
        if raw is None:
            await self._missing(name, before)
        assert raw is not None, "what is missing was refused"
        if before is not None and raw == before.raw:
            return before
        return await self.take(raw, name)

    async def _missing(self, name: str, before: RoomList | None) -> None:
        """Find out why the relay serves no list."""
        room = await self._call("room.members", {"room": name, "limit": 1})
        if before is not None:
            raise Rejected(Verdict.LIST_ROLLBACK, f"none after version {before.version}")
        if room.get("listed"):
            raise Rejected(Verdict.LIST_BAD, "one is said to be there, and not served")
        raise Refused(UNLISTED, f"{name} has no signed list of members: nothing is sealed for it")

    async def take(self, raw: bytes, name: str) -> RoomList:
        """Verify a list, and keep it if nothing that is pinned speaks against it.

        Raises:
            Rejected: ``list-bad``, ``unchecked``, ``list-rollback``, ``room-conflict`` or
                ``room-changed-hands``; what is held then stays.
        """
        one, signers = await self._verified(raw, name)
        now = self._journal.now()

        def job(state: State) -> RoomPin | Rejected:
            # Another process may have taken a newer one meanwhile.
            held = self._vault.room(state, name)
            pinned = held[0] if held else None
            try:
                pin = roomlist.take(one, pinned, self._successor(signers, pinned))
            except Rejected as rejected:
                return rejected
            self._vault.save(state, pin, one, now)
            return pin

        taken = await self._journal.do(job)
        if isinstance(taken, Rejected):
            self._held.pop(name, None)  # the next look reads what is on disk
            raise taken
        self._held[name] = taken, one
        self.came(name)
        return one

    async def _verified(self, raw: bytes, name: str) -> tuple[RoomList, dict[str, bytes]]:
        """Check a list's signatures; returns also who signs, with fingerprints."""
        one = roomlist.parse(raw, name)
        signers = {
            member: fp for member, fp in one.members.items() if fp in (one.owner, one.signer)
        }
        await self.meet(signers)
        known = self._identities(signers)
        await self._wait(
            [self._contacts.renew(who) for who, fp in signers.items() if fp not in known]
        )
        roomlist.verify(one, self._identities(signers).get)
        return one, signers

    async def meet(self, members: Mapping[str, bytes | None], fresh: bool = False) -> None:
        """Bring contacts into memory, those unknown so far from the relay in few calls.

        Args:
            members: with the fingerprints that a list has for them; None for none.
            fresh: whether to have keys of all of them that can be sealed with, as far as possible.

        Raises:
            ConnectError: the relay could not be asked.
        """
        await self._contacts.look_up(members)
        wanted = [name for name in members if fresh or self._contacts.pin(name) is None]
        await self._wait([self._contacts.want(name, members[name]) for name in wanted])

    async def _wait(self, asked: Iterable[Deferred[typing.Any]]) -> None:
        """Wait for keys; whose are not to be had is told by what needs them.

        Raises:
            ConnectError: the relay could not be asked.
        """
        for _, result in await DeferredList(asked, consumeErrors=True):
            error = getattr(result, "value", None)
            if isinstance(error, (ConnectError, TimedOut)):
                raise error
            if error is not None and not isinstance(error, RemoteError):
                raise error

    def _identities(self, names: Iterable[str]) -> dict[bytes, Identity]:
        """Return who is pinned under these names, by fingerprint, those before a change too."""
        found: dict[bytes, Identity] = {}
        for name in names:
            pin = self._contacts.pin(name)
            if pin is not None:
                for identity in (pin.identity, *(former.identity for former in pin.former)):
                    found[identity.fp] = identity
        return found

    def _successor(self, names: Iterable[str], pinned: RoomPin | None) -> bytes | None:
        """Return the fingerprint that followed the pinned owner's."""
        for pin in filter(None, map(self._contacts.pin, names)):
            if pinned is not None and any(
                former.identity.fp == pinned.owner for former in pin.former
            ):
                return pin.fp
        return None


def _asked(name: str, version: int | None = None) -> dict[str, typing.Any]:
    return {"room": name} if version is None else {"room": name, "version": version}


def _served(answer: dict[str, typing.Any]) -> bytes | None:
    """Return the one list that was asked for, or None."""
    try:
        (one,) = answer["lists"]
        return None if one is None else lines.decode(one["list"])
    except (KeyError, TypeError, ValueError, RemoteError):
        raise Rejected(Verdict.LIST_BAD, "room.fetch answered something else") from None
