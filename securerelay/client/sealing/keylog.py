"""The relay's key log as this profile has seen it: it only grows, and has no keys of ours but ours.

Three things are held against each other: what the relay served before, what it serves now, and what
contacts tell in their messages that it served them.
"""

from __future__ import annotations

import typing
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from securerelay.client.calls import bundle_entry
from securerelay.client.journal import Journal
from securerelay.client.sealing import ended, lineage
from securerelay.client.sealing.notices import HIDDEN_LOG, Notices
from securerelay.client.sealing.own import Call
from securerelay.client.state import State
from securerelay.crypto import merkle, primitives
from securerelay.errors import Refused, RemoteError, SecureRelayError
from securerelay.identity.keylog import Head, Leaf
from securerelay.identity.profile import Profile
from securerelay.protocol import lines
from securerelay.sealing import logview
from securerelay.sealing.verdicts import Rejected, Verdict

MOST = 1024
"""Heads told by contacts that are remembered as found good."""

Sight = tuple[int, bytes]
"""Size and root of a log."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the profile keeps of the log.

    Args:
        sight: size and root of the largest head that was found good; None before the first.
        read: the log as far as its leaves were read.
    """

    sight: Sight | None
    read: merkle.Frontier


@dataclass(frozen=True, slots=True)
class Report:
    """What a look at the log found.

    Args:
        head: the relay's newest.
        read: leaves that were read, all of them together.
        hidden: whether the relay's policy hides the leaves from us.
    """

    head: Head
    read: int
    hidden: bool


class KeyLog:
    """The log of one profile's relay.

    Args:
        profile: enrolled; its key has been had.
        journal: keeps what was seen.
        call: asks the relay.
        notices: tells the user.
        relay_key: returns the relay's own key, SubjectPublicKeyInfo in DER; None while there is no
            connection.
    """

    _log = Logger()

    def __init__(
        self,
        profile: Profile,
        journal: Journal,
        call: Call,
        notices: Notices,
        relay_key: Callable[[], bytes | None],
    ) -> None:
        self._profile = profile
        self._journal = journal
        self._call = call
        self._notices = notices
        self._relay_key = relay_key
        self._lock = DeferredLock()
        self._told: OrderedDict[Sight, None] = OrderedDict()
        self._comparing: dict[str, Sight | None] = {}
        self._head: Head | None = None
        self.seen: Sight | None = None
        """The largest head seen; None if this program has not looked yet."""
        self.ended: Callable[[str], None] = lambda name: None
        """Hears the names of contacts that have ended."""

    async def look(self, served: object = None) -> Report:
        """Hold the relay's log against what was seen of it, and read what is new.

        Args:
            served: the head as it came in WELCOME, base64url; None to ask for it.

        Returns:
            What was found.

        Raises:
            Rejected: ``log-bad``, ``split-log`` or ``foreign-leaf``; the user was told.
            ConnectError: the relay could not be asked.
        """
        await self._lock.acquire()
        try:
            return await self._look(served)
        except Rejected as rejected:
            self._notices.show(rejected.verdict, self._profile.name)
            raise
        finally:
            self._lock.release()

    async def _look(self, served: object) -> Report:
        if not isinstance(served, str):
            served = (await self._call("log.head", {})).get("head")
        head = self._read(served)
        kept = await self._journal.do(load, write=False)
        now = (head.size, head.root)
        if kept.sight is not None:
            self.seen = kept.sight
            await self._agree(kept.sight, now)
        self._head = head
        largest = max(filter(None, (kept.sight, now)))
        read, hidden = kept.read, False
        told: tuple[Leaf, ...] = ()
        try:
            if len(kept.read) < head.size:
                read, told = await self._extend(kept.read, head)
        except Refused as refusal:
            if refusal.code != "not-permitted":
                raise
            hidden = True
            self._notices.show(HIDDEN_LOG, self._profile.name)
        finally:
            # A head that agrees is held to, whatever else is found.
            def keep(state: State) -> list[tuple[str, str]]:
                save(state, Kept(largest, read))
                return ended.note(state, told)

            gone = await self._journal.do(keep)
            self.seen = largest
        for name, code in gone:
            self._notices.say(code, name, ended.words(name, code))
            self.ended(name)
        return Report(head, len(read), hidden)

    def _read(self, served: object) -> Head:
        key = primitives.load_rsa_spki(self._relay_key() or b"")
        if key is None or not isinstance(served, str):
            raise Rejected(Verdict.LOG_BAD, "no head, or nobody who signs it")
        try:
            raw = lines.decode(served)
        except RemoteError as error:
            raise Rejected(Verdict.LOG_BAD, error.detail) from None
        return logview.read_head(raw, self._profile.relay_id, key)

    async def _agree(self, one: Sight, other: Sight) -> None:
        if logview.agree(one, other, None):
            return
        sizes = sorted((one[0], other[0]))
        try:
            answer = await self._call("log.proof", {"consistency": sizes})
        except Refused as refusal:
            raise Rejected(Verdict.SPLIT_LOG, f"no proof: {refusal.code}") from None
        logview.agree(one, other, _hashes(answer))

    async def _extend(
        self, known: merkle.Frontier, head: Head
    ) -> tuple[merkle.Frontier, tuple[Leaf, ...]]:
        """Read all new leaves, and look for our name and for those that have ended."""
        reading = logview.Reading(known, self._profile.name)
        while len(reading) < head.size:
            at = len(reading)
            page = _octets(await self._call("log.leaves", {"from": at, "to": head.size}), "leaves")
            if not page:
                raise Rejected(Verdict.SPLIT_LOG, f"no leaf {at} of {head.size}")
            reading.take(page)
        return reading.end(head, lineage.keys(self._profile))

    # -- our own place in it

    async def find_own(self, head: Head) -> int:
        """Check that our certificate is in the log.

        Args:
            head: from :meth:`look`.

        Returns:
            Its place, from 0.

        Raises:
            Rejected: ``log-bad`` if it is not.
        """
        name, peer = self._profile.name, self._profile.peer
        asked = {"peers": [name], "size": head.size}
        entry = bundle_entry(await self._call("key.fetch", asked), name)
        return check_entry(head, entry, name, primitives.sha256(peer.spki), peer.sha256)

    # -- others' places in it

    async def fetch(self, method: str, asked: dict[str, typing.Any]) -> dict[str, typing.Any]:
        """Ask for peers' keys, with proofs for :meth:`certify` if this program has looked.

        Args:
            method: ``key.fetch``.
            asked: its parameters.
        """
        if self._head is not None:
            try:
                return await self._call(method, {**asked, "size": self._head.size})
            except Refused as refusal:
                if refusal.code != "bad-request":
                    raise  # a log that is shorter than it was is found out elsewhere
        return await self._call(method, asked)

    async def certify(
        self, name: str, entry: dict[str, typing.Any], spki: bytes, certificate: bytes
    ) -> None:
        """Check that the certificate of somebody new is in the log, where its owner sees it.

        Args:
            name: the peer's.
            entry: as :meth:`fetch` had it.
            spki: SHA-256 of its identity key.
            certificate: SHA-256 of its certificate.

        Raises:
            Rejected: ``log-bad``, or what :meth:`look` finds.
            ConnectError: the relay could not be asked.
        """
        head, index = self._head, entry.get("index")
        if head is None or not isinstance(index, int) or index >= head.size:
            try:
                head = (await self.look()).head
            except Rejected:
                head = self._head  # an alarm about our own name says nothing of this one
                if head is None:
                    raise
        if not isinstance(entry.get("proof"), list) and isinstance(index, int):
            asked = {"inclusion": index, "size": head.size}
            try:
                entry = {**entry, "proof": (await self._call("log.proof", asked)).get("hashes")}
            except Refused as refusal:
                raise Rejected(Verdict.LOG_BAD, f"no proof: {refusal.code}") from None
        check_entry(head, entry, name, spki, certificate)

    # -- what contacts tell

    def heard(self, name: str, told: Sight) -> None:
        """Hold what a contact told in a message against what we see; it takes a moment."""
        if told in self._told or told == self.seen:
            return
        if name in self._comparing:
            self._comparing[name] = told  # one at a time of each, and then the newest
            return
        self._told[told], self._comparing[name] = None, None
        if len(self._told) > MOST:
            self._told.popitem(last=False)
        comparing = Deferred.fromCoroutine(self._compare(name, told))
        comparing.addErrback(self._failed, told).addBoth(self._compared, name)

    def _compared(self, _: object, name: str) -> None:
        newest = self._comparing.pop(name)
        if newest is not None:
            self.heard(name, newest)

    async def _compare(self, name: str, told: Sight) -> None:
        if self.seen is None or told[0] > self.seen[0]:
            await self.look()  # the relay has it by now, if it is of the one log
        assert self.seen is not None, "looked just before"
        try:
            await self._agree(self.seen, told)
        except Rejected as rejected:
            self._notices.show(rejected.verdict, name)

    def _failed(self, failure: typing.Any, told: Sight) -> None:
        failure.trap(SecureRelayError)
        self._told.pop(told, None)  # another message will tell it again
        self._log.info("the key log could not be compared: {error}", error=failure.value)


def check_entry(
    head: Head, entry: dict[str, typing.Any], name: str, spki: bytes, certificate: bytes
) -> int:
    """Check the proof that came with a peer's keys: that their certificate is in the log.

    Args:
        head: of the log, found good.
        entry: as ``key.fetch`` gave it.
        name: the peer's.
        spki: SHA-256 of its identity key.
        certificate: SHA-256 of its certificate.

    Returns:
        The place of the certificate's leaf, from 0.

    Raises:
        Rejected: ``log-bad``.
    """
    index = entry.get("index")
    if not isinstance(index, int) or isinstance(index, bool):
        raise Rejected(Verdict.LOG_BAD, "keys without a leaf")
    try:
        leaf = Leaf.read(lines.decode(str(entry.get("leaf"))))
    except RemoteError as error:
        raise Rejected(Verdict.LOG_BAD, error.detail) from None
    logview.certifies(leaf, name, spki, certificate)
    logview.check_inclusion(head, leaf, index, _octets(entry, "proof"))
    return index


def load(state: State) -> Kept:
    """Read what is kept of the log."""
    row = state.db.execute("SELECT size, root, leaves, peaks FROM log").fetchone()
    if row is None:
        return Kept(None, merkle.Frontier())
    size, root, leaves, peaks = row
    each = merkle.HASH_SIZE
    return Kept(
        (size, root),
        merkle.Frontier(leaves, [peaks[at : at + each] for at in range(0, len(peaks), each)]),
    )


def save(state: State, kept: Kept) -> None:
    """Write down what was seen, unless another program has seen more."""
    before = load(state)
    sight = max(filter(None, (kept.sight, before.sight)))
    read = max(kept.read, before.read, key=len)
    state.db.execute(
        "INSERT OR REPLACE INTO log VALUES (1, ?, ?, ?, ?)",
        (*sight, len(read), b"".join(read.peaks)),
    )


def _hashes(answer: dict[str, typing.Any]) -> list[bytes]:
    return _octets(answer, "hashes")


def _octets(answer: dict[str, typing.Any], key: str) -> list[bytes]:
    """Return a list of what was in base64url."""
    values = answer.get(key)
    if not isinstance(values, list):
        raise Rejected(Verdict.LOG_BAD, f"no {key}")
    try:
        return [lines.decode(str(value)) for value in values]
    except RemoteError as error:
        raise Rejected(Verdict.LOG_BAD, error.detail) from None
