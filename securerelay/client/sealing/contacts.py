"""Contacts: their keys fetched from the relay, held against what we know of them, sealed with.

What is decided about a contact is decided in a transaction on the profile's database, so that all
its programs, and whoever verifies a contact meanwhile, agree; it is on disk before it is used.
"""

# More than 400 lines: what is asked, judged, kept and found again of contacts has one state.

from __future__ import annotations

import datetime
import typing
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from securerelay.client.journal import Journal
from securerelay.client.sealing import ended
from securerelay.client.sealing.keylog import KeyLog
from securerelay.client.sealing.notices import Notices
from securerelay.client.sealing.own import OwnKeys
from securerelay.client.sealing.vault import Contact, Vault
from securerelay.client.state import State
from securerelay.crypto import primitives
from securerelay.errors import Refused, RemoteError, SecureRelayError
from securerelay.protocol import lines
from securerelay.sealing import bundle, envelope, pins
from securerelay.sealing.bundle import FRESH, Bundle
from securerelay.sealing.fingerprint import Author, Identity
from securerelay.sealing.pins import Pin
from securerelay.sealing.plaintext import Content
from securerelay.sealing.verdicts import Rejected, Verdict

MOST = 4096
"""Contacts kept in memory."""
NO_KEYS = "no-keys"
"""The code of somebody who is enrolled and has not published keys yet."""
BATCH = 64
"""Peers asked for in one call."""

Call = Callable[[str, "dict[str, typing.Any]"], Awaitable["dict[str, typing.Any]"]]


class Recipient(typing.Protocol):
    """Somebody who can be sealed for at this moment."""

    @property
    def bound(self) -> bytes:
        """For whom a message is sealed for ever: a peer's fingerprint, or a room's id."""

    def seal(self, content: Content) -> bytes:
        """Return a sealed body."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A contact that can be sealed for (a :class:`Recipient`).

    Args:
        author: who seals.
        bundle: its keys, found good.
        fetched: when, Unix ms.
    """

    author: Author
    bundle: Bundle
    fetched: int

    @property
    def bound(self) -> bytes:
        """The peer's fingerprint."""
        return self.bundle.identity.fp

    def seal(self, content: Content) -> bytes:
        """Return an envelope."""
        return envelope.seal(
            content, self.author, self.bound, self.bundle.prekey_id, self.bundle.key
        )

    def fresh(self, pin: Pin, now: int) -> bool:
        """Tell whether the keys may be sealed with without asking the relay again."""
        return (
            0 <= now - self.fetched < FRESH
            and now < self.bundle.expires
            and self.bundle.number >= pin.number
            and pin.blocked is None
            and pin.fp == self.bound
        )


@dataclass(frozen=True, slots=True)
class _Learnt:
    """What came of holding a bundle against what we knew."""

    contact: Contact | None
    bundle: Bundle | None = None
    shown: Verdict | None = None
    error: RemoteError | None = None


class Contacts:
    """The contacts of a profile.

    Args:
        own: who seals.
        ca_spki: the key of the relay's authority, SubjectPublicKeyInfo in DER.
        vault: what is kept.
        journal: where.
        call: asks the relay; it fails without a connection.
        notices: tells the user.
        clock: the reactor.
    """

    def __init__(
        self,
        own: OwnKeys,
        ca_spki: bytes,
        vault: Vault,
        journal: Journal,
        call: Call,
        notices: Notices,
        clock: IReactorTime,
    ) -> None:
        self._own = own
        self._ca_spki = ca_spki
        self._vault = vault
        self._journal = journal
        self._call = call
        self._notices = notices
        self._clock = clock
        self._pins: OrderedDict[str, Pin] = OrderedDict()
        self._peers: dict[str, Peer] = {}
        self._wanted: dict[str, list[Deferred[Peer]]] = {}
        self._due: list[str] = []
        self._anew: set[str] = set()
        self._listed: dict[str, bytes] = {}
        self.log: KeyLog | None = None
        """What contacts' new certificates have to be in; None to take them unproven."""

    # -- for sealing

    def find(self, to: str) -> Peer | None:
        """Return somebody who can be sealed for at this moment, as far as we know in memory."""
        peer, pin = self._peers.get(to), self._pins.get(to)
        if peer is None or pin is None or not peer.fresh(pin, self._journal.now()):
            return None
        return peer

    def want(self, to: str, listed: bytes | None = None) -> Deferred[Peer]:
        """Make it possible to seal for somebody: ask the relay for the keys.

        Args:
            to: the peer.
            listed: the fingerprint that a room lists for it, the only one to be pinned at first
                sight.

        Raises:
            Rejected: through the Deferred: what the relay serves may not be sealed with.
            Refused: through the Deferred: ``unknown`` if there is no such peer.
            ConnectError: through the Deferred: the relay could not be asked.
        """
        peer = self.find(to)
        if peer is None and listed is not None:
            self._listed[to] = listed
        return self._ask_for(to) if peer is None else succeed(peer)

    def renew(self, to: str) -> Deferred[Peer]:
        """Ask the relay for somebody's keys, whatever we have; see :meth:`want`."""
        self._anew.add(to)
        return self._ask_for(to)

    def _ask_for(self, to: str) -> Deferred[Peer]:
        waiting: Deferred[Peer] = Deferred()
        asked = self._wanted.setdefault(to, [])
        asked.append(waiting)
        if len(asked) == 1:
            self._due.append(to)
            if len(self._due) == 1:
                # All that are wanted in one turn of the reactor are asked for in one call.
                self._clock.callLater(0, self._ask)
        return waiting

    def forget_keys(self, name: str) -> None:
        """Seal nothing more for somebody before the relay, and what is on disk, was asked."""
        self._peers.pop(name, None)

    def doubt(self, to: str, code: str) -> None:
        """The relay refused a message for now; it says nothing of a peer's keys."""

    def _ask(self) -> None:
        due, self._due = self._due, []
        for at in range(0, len(due), BATCH):
            Deferred.fromCoroutine(self._fetch(due[at : at + BATCH]))

    async def _fetch(self, names: list[str]) -> None:
        learnt: dict[str, Peer | SecureRelayError] = {}
        try:
            await self._own.published()
            learnt.update(await self._recall(names))
            asked = [name for name in names if name not in learnt]
            if asked:
                fetch = self._call if self.log is None else self.log.fetch
                answer = await fetch("key.fetch", {"peers": asked})
                entries = answer.get("bundles")
                if not isinstance(entries, dict):
                    raise RemoteError("protocol", "key.fetch answered without bundles")
                learnt.update(await self._learn({name: entries.get(name) for name in asked}))
        except SecureRelayError as error:
            learnt = {**dict.fromkeys(names, error), **learnt}
        for name in names:
            self._listed.pop(name, None)
            found = learnt[name]
            for one in self._wanted.pop(name):
                if isinstance(found, Peer):
                    one.callback(found)
                else:
                    one.errback(found)

    async def _recall(self, names: list[str]) -> dict[str, Peer]:
        """Return those whose keys another program of the profile has just fetched."""
        found, now = {}, self._journal.now()
        wanted = [name for name in names if name not in self._anew]
        self._anew.difference_update(names)

        def job(state: State) -> list[Contact]:
            found = self._vault.contacts(state, wanted)
            return [one for one in found if ended.find(state, one.name) is None]

        for contact in await self._journal.do(job, write=False):
            if contact.bundle is None or not 0 <= now - contact.fetched < FRESH:
                continue
            known = bundle.read(contact.bundle, contact.name, self._ca_spki)
            peer = Peer(self._own.author, known, contact.fetched)
            if peer.fresh(contact.pin, now):
                self._keep(contact, peer)
                found[contact.name] = peer
        return found

    # -- for opening

    def pin(self, name: str) -> Pin | None:
        """Return the pin of somebody who was looked up before."""
        pin = self._pins.get(name)
        if pin is not None:
            self._pins.move_to_end(name)
        return pin

    def first(self, name: str, sender: Identity) -> bytes:
        """Return the fingerprint under which all of a contact's messages are counted.

        It is the first that we knew, so that streams go on when its key is followed by another.

        Args:
            name: the contact's.
            sender: who it is, or was.
        """
        pin = self._pins.get(name)
        return pin.former[-1].identity.fp if pin is not None and pin.former else sender.fp

    async def look_up(self, names: Iterable[str]) -> None:
        """Bring pins into memory, as far as there are some on disk."""
        missing = [name for name in names if name not in self._pins]
        if missing:
            found = await self._journal.do(
                lambda state: self._vault.contacts(state, missing), write=False
            )
            for contact in found:
                self._keep(contact, None)

    def hear(self, name: str, number: int) -> None:
        """Note the bundle number that a verified message of a contact told."""
        pin = self._pins.get(name)
        if pin is None or number <= pin.number:
            return
        self._pins[name] = pins.hear(pin, number)

        def note(state: State) -> None:
            contact = self._vault.contact(state, name)
            if contact is not None:
                heard = replace(contact, pin=pins.hear(contact.pin, number))
                self._vault.save_contact(state, heard)

        self._journal.do(note).addErrback(lambda _: None)

    # -- what the relay serves

    async def _unproven(self, entries: dict[str, typing.Any]) -> dict[str, Peer | SecureRelayError]:
        """Return whose certificate is new to us, and not in the log where its owner sees it."""
        unproven: dict[str, Peer | SecureRelayError] = {}
        if self.log is None:
            return unproven
        await self.look_up(entries)
        for name, entry in entries.items():
            if not isinstance(entry, dict) or not entry.get("bundle"):
                continue
            pin = self._pins.get(name)
            try:
                served = bundle.read(_raw(entry), name, self._ca_spki)
                if pin is not None and pin.fp == served.identity.fp:
                    continue
                keys = served.identity.spki, served.certificate
                await self.log.certify(name, entry, *map(primitives.sha256, keys))
            except Rejected as rejected:
                if rejected.verdict is Verdict.LOG_BAD:
                    self._notices.show(Verdict.LOG_BAD, name)
                unproven[name] = rejected
        return unproven

    async def _learn(self, entries: dict[str, typing.Any]) -> dict[str, Peer | SecureRelayError]:
        """Hold what the relay serves against what we know, write it down, and take it over."""
        found = await self._unproven(entries)
        now = self._journal.now()

        def job(state: State) -> dict[str, _Learnt]:
            return {
                name: self._judge(state, name, entry, now)
                for name, entry in entries.items()
                if name not in found
            }

        learnt = await self._journal.do(job)
        for name, one in learnt.items():
            peer = None
            if one.bundle is not None:
                peer = Peer(self._own.author, one.bundle, now)
            if one.contact is not None:
                self._keep(one.contact, peer)
            if one.shown is not None:
                self._notices.show(one.shown, name)
            found[name] = peer or one.error or RemoteError("protocol", "nothing served")
        return found

    def _keep(self, contact: Contact, peer: Peer | None) -> None:
        name = contact.name
        self._pins[name] = contact.pin
        self._pins.move_to_end(name)
        if peer is not None:
            self._peers[name] = peer
        while len(self._pins) > MOST:
            old, _ = self._pins.popitem(last=False)
            self._peers.pop(old, None)

    def _judge(self, state: State, name: str, entry: typing.Any, now: int) -> _Learnt:
        known, gone = self._vault.contact(state, name), ended.find(state, name)
        if not isinstance(entry, dict):
            return _Learnt(known, error=Refused("unknown", f"there is no peer {name}"))
        try:
            raw = _raw(entry)
            served = bundle.read(raw, name, self._ca_spki)
            before = known.pin if known else None
            revoked = frozenset((gone[1],)) if gone else frozenset()
            pin, shown = _hold(before, served, self._listed.get(name), revoked, now)
            stored = self._stored(known, pin)
            kept = (known.bundle, known.fetched) if known and stored else (None, 0)
            contact = Contact(pin, *kept, _since(known, pin, now))
        except RemoteError as error:
            return _Learnt(known, error=error)
        if gone:
            # Names never come back: whatever is served for it now, it is not for sealing.
            self._vault.save_contact(state, contact)
            return _Learnt(contact, shown=shown, error=ended.refusal(name, gone[0]))
        try:
            bundle.check_current(served, pin.fp, stored, pin.number, now)
        except Rejected as error:
            self._vault.save_contact(state, contact)
            away = error.verdict is Verdict.PEER_AWAY
            reason = _away(served) if away else error
            return _Learnt(contact, shown=shown, error=reason)
        pin = pins.hear(pin, served.number)
        contact = replace(contact, pin=pin, bundle=raw, fetched=now)
        self._vault.save_contact(state, contact)
        if entry.get("state") != "active":
            said = Refused("unknown", f"{name} was revoked")
            return _Learnt(contact, shown=shown, error=said)
        return _Learnt(contact, served, shown)

    def _stored(self, known: Contact | None, pin: Pin) -> Bundle | None:
        """Return the last bundle that was found good, if it is of the one who is pinned."""
        if known is None or known.bundle is None:
            return None
        stored = bundle.read(known.bundle, known.name, self._ca_spki)
        return stored if stored.identity.fp == pin.fp else None


def _raw(entry: dict[str, typing.Any]) -> bytes:
    """Return the bundle that was served.

    Raises:
        Refused: ``no-keys`` if there is none.
        Rejected: ``bundle-bad``.
    """
    encoded = entry.get("bundle")
    if not isinstance(encoded, str):
        raise Refused(NO_KEYS, "no keys to seal with were published yet")
    try:
        return lines.decode(encoded)
    except RemoteError as error:
        raise Rejected(Verdict.BUNDLE_BAD, error.detail) from None


def _hold(
    pin: Pin | None, served: Bundle, listed: bytes | None, revoked: frozenset[bytes], now: int
) -> tuple[Pin, Verdict | None]:
    """Hold a bundle against the pin, or make one; a verdict that was shown before is not again."""
    if pin is None:
        return pins.first_sight(served, listed), None
    met, verdict = pins.meet(pin, served, revoked, now)
    again = verdict is Verdict.KEY_CHANGED and met.blocked == pin.blocked
    return met, None if again else verdict


def _away(served: Bundle) -> Refused:
    since = datetime.datetime.fromtimestamp(served.issued / 1000, datetime.timezone.utc)
    verdict = Verdict.PEER_AWAY
    words = verdict.words(peer=served.identity.name, since=since.date().isoformat())
    return Refused(verdict.value, words)


def _since(known: Contact | None, pin: Pin, now: int) -> int:
    same = known is not None and (known.pin.fp, known.pin.level) == (pin.fp, pin.level)
    return known.since if known is not None and same else now
