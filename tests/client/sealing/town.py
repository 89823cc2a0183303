"""Peers with rooms, at a real relay in memory that lies when a test says so.

Each has a profile and the parts of a client that seal and open.  What one sends leaves in order.
"""

from __future__ import annotations

import base64
import pathlib
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from securerelay.client.calls import Event, read_json
from securerelay.client.inbox import Inbox, Message
from securerelay.client.journal import Journal
from securerelay.client.lane import InlineLane
from securerelay.client.sealing import lineage
from securerelay.client.sealing.contacts import Contacts, Recipient
from securerelay.client.sealing.keylog import KeyLog
from securerelay.client.sealing.notices import Notices
from securerelay.client.sealing.opener import Opener
from securerelay.client.sealing.own import OwnKeys
from securerelay.client.sealing.rooms import Rooms
from securerelay.client.sealing.roomsealing import RoomSealing
from securerelay.client.sealing.vault import Vault
from securerelay.errors import Refused
from securerelay.identity import keyfile
from securerelay.identity.invitation import Invitation
from securerelay.identity.nextkey import NextKey
from securerelay.identity.profile import Profile
from securerelay.protocol import lines
from securerelay.sealing import roomkey, succession
from securerelay.sealing.plaintext import Content
from tests.keys import NOW, authority, rsa_key, spki
from tests.relay.world import RELAY_KEY, Guest, World, credential, done

KEYS = 8
"""RSA keys that all share: names make people different, and keys take long to make."""

Answer = dict[str, Any]


class Town:
    """A relay and its peers.

    Attributes:
        lies: what the relay answers to a method in the place of the truth, if it is not None.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.world = World(sealed=True)
        self.people: dict[str, Member] = {}
        self.calls: deque[tuple[Member, str, Answer, Deferred[Answer]]] = deque()
        self.lies: dict[str, Callable[[Member, Answer, Answer], Answer | None]] = {}
        self.asked: list[tuple[str, str, Answer]] = []
        self.skipped = 0.0
        self.ended: set[str] = set()

    def now(self) -> float:
        return self.world.wall() + self.skipped

    def skip(self, seconds: float) -> None:
        """Let time pass in which nothing happens, but for what is looked at now and again."""
        self.skipped += seconds
        for one in self.people.values():
            one.keys._look()
        self.run()

    def settle(self, *names: str) -> tuple[Member, ...]:
        """Have people join the relay, publish their keys and listen."""
        new = [Member(self, name) for name in names]
        for one in new:
            self.people[one.name] = one
            self.after(one.own.publish())
        return tuple(new)

    def revoke(self, name: str) -> None:
        """Have the administrator end somebody's name."""
        self.ended.add(name)
        self.after(self.world.router.revoke(name))

    def run(self, seconds: float = 0.0) -> None:
        """Let time pass, and everything happen that does."""
        while seconds > 1:
            self.run(1)
            seconds -= 1
        self.world.run(seconds)
        idle = 0
        while idle < 3:
            idle = 0 if self.calls else idle + 1
            while self.calls:
                self.answer(*self.calls.popleft())
            for one in self.people.values():
                idle = 0 if one.move() else idle
            self.world.run()

    def answer(self, who: Member, method: str, asked: Answer, waiting: Deferred[Answer]) -> None:
        self.asked.append((who.name, method, asked))
        status, said = who.guest.call(method, **asked)
        if status == "rate":  # the relay's patience is another test's
            self.world.run(1.0)
            status, said = who.guest.call(method, **asked)
        lie = self.lies.get(method)
        told = lie(who, asked, said) if lie else None
        if told is None and status != "ok":
            waiting.errback(Refused(status, said.get("message", "")))
        else:
            waiting.callback(told or said)

    def after(self, work: Coroutine[Any, Any, Any] | Deferred[Any]) -> Any:
        """Run until something is done, and return what came of it."""
        waiting = work if isinstance(work, Deferred) else Deferred.fromCoroutine(work)
        outcome: list[Any] = []
        waiting.addBoth(outcome.append)
        for _ in range(40):
            if outcome:
                break
            self.run(0.25)
        (result,) = outcome
        if isinstance(result, Failure):
            result.raiseException()
        return result

    def close(self) -> None:
        for one in self.people.values():
            one.close()


class Member:
    """One peer."""

    def __init__(self, town: Town, name: str) -> None:
        index = len(town.people) % KEYS
        self.town, self.name, world = town, name, town.world
        expiry = int(NOW.timestamp()) + 3600
        invitation = Invitation.create(authority().relay_id, "relay.example", 3000, name, expiry)
        profile = Profile.join(town.folder / name, invitation, key=rsa_key(index=index))
        row = world.enrol(name, index)
        profile.accept(row.der, ca_spki=authority().spki, relay_name="relay", now=world.date())
        self.become(profile, world.join(name, index))

    def become(self, profile: Profile, guest: Guest) -> None:
        """Begin as a program that has just been started."""
        town, world = self.town, self.town.world
        self.profile, self.guest = profile, guest
        name = f"{self.name}-{len(lineage.former(profile))}"
        self.stream = base64.urlsafe_b64encode(name.encode().ljust(16, b"-")).rstrip(b"=")
        self.guest.open(self.stream)
        self.guest.attend()
        clock = world.clock
        self.journal = journal = Journal(profile.path, InlineLane(), clock, town.now)
        vault = Vault(profile.relay_id, profile.sealing_keys().data_key)
        self.vault = vault
        self.events: list[Event] = []
        self.notices = Notices(vault, journal, self.events.append)
        self.own = OwnKeys(profile, vault, journal, self.call, self.notices)
        self.contacts = Contacts(
            self.own, authority().spki, vault, journal, self.call, self.notices, clock
        )
        self.opener = Opener(self.own, self.contacts, vault, journal, self.notices)
        self.inbox = self.opener.inbox = Inbox(journal=journal, opener=self.opener)
        self.parts = parts = RoomSealing(
            *(self.own, self.contacts, vault, journal, self.call, self.tell, self.notices),
            *(self.opener, clock),
        )
        self.lists, self.keys, self.rooms, self.owner = (
            *(parts.lists, parts.keys, parts.out, parts.owner),
        )
        self.log = KeyLog(
            *(profile, journal, self.call, self.notices),
            lambda: spki(index=RELAY_KEY),
        )
        self.opener.told = self.log.heard
        self.contacts.log = self.log
        self.log.ended = self.contacts.forget_keys
        self.told: list[tuple[str, str]] = []
        self.shown: list[Message] = []
        self.bodies: list[bytes] = []
        self._out: deque[Coroutine[Any, Any, None]] = deque()
        self._busy = False
        self._seq = 0
        self._indices: dict[str, int] = {}
        self._read = 0
        self.away = False

    def rotate(self, index: int) -> None:
        """Get other keys, with the RSA key of an index, and begin anew."""
        self.close()
        profile, key, old = self.profile, self.profile.key(), self.own.identity

        def succeed(spki: bytes, seed: bytes) -> bytes:
            return succession.build(key, old, lineage.of(profile, spki, seed).fp, 5)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(keyfile, "generate_key", lambda bits: rsa_key(index=index))
            following = NextKey.prepare(profile, succeed)
        session_id = self.guest.connection.session_id
        assert session_id is not None
        asked = {"key": following.spki, "proof": following.prove(session_id)}
        status, said = self.guest.call(
            "cert.renew", **{name: lines.encode(value) for name, value in asked.items()}
        )
        assert status == "ok"
        der, world = lines.decode(said["certificate"]), self.town.world
        self.become(following.adopt(der, now=world.date()), world.connect(credential(der, index)))
        self.town.after(self.own.publish())

    def close(self) -> None:
        self.keys.close()
        self.journal._state.close()

    # -- what a client gives its parts

    def call(self, method: str, parameters: Answer) -> Deferred[Answer]:
        waiting: Deferred[Answer] = Deferred()
        self.town.calls.append((self, method, parameters, waiting))
        return waiting

    def tell(self, to: str, content_type: str, body: bytes) -> None:
        self.told.append((to, content_type))
        self._out.append(self._send(to, content_type, body, self.contacts))

    # -- sending

    def say(self, to: str, text: str) -> None:
        """Send to a room or peer, and let it happen."""
        self.town.after(self._say(to, text))
        self.town.run()

    async def _say(self, to: str, text: str) -> None:
        recipients = self.rooms if to.startswith("@") else self.contacts
        await recipients.want(to)  # what has to go before is queued by then
        self._out.append(self._send(to, "text/plain", text.encode(), recipients))

    async def _send(
        self, to: str, content_type: str, body: bytes, recipients: Rooms | Contacts
    ) -> None:
        self._seq += 1
        seq = self._seq
        self._indices[to] = index = self._indices.get(to, 0) + 1
        stream = base64.urlsafe_b64decode(self.stream + b"==")
        now = self.journal.now()
        content = Content(stream, seq, to, index, now, self.own.number, content_type, body)
        content = replace(content, log_head=self.log.seen)
        while True:
            recipient: Recipient = recipients.find(to) or await recipients.want(to)
            self.bodies.append(recipient.seal(content))
            self.guest.send(seq, to.encode(), self.bodies[-1])
            codes = [code for no, code in self.guest.of("no") if no == seq]
            self.guest.heard = [said for said in self.guest.heard if said[:2] != ("no", seq)]
            if codes == [b"unknown"] and to in self.town.ended:
                return
            if codes != [b"room-changed"]:
                assert not codes, codes
                return
            recipients.doubt(to, "room-changed")

    # -- what happens by itself

    def move(self) -> bool:
        """Send what is queued, and take what came; tells whether there was anything."""
        moved = bool(self._out) and not self._busy
        if moved:
            self._busy = True
            sending = Deferred.fromCoroutine(self._out.popleft())
            sending.addBoth(self._sent)
        if self.away:
            return moved
        for n, sender, to, stream, seq, time, body in self.guest.of("msg"):
            if n > self._read:
                self._read, moved = n, True
                self.inbox.received(n, sender, to, stream, seq, time, body)
        for kind, body in self.guest.of("event"):
            self.hear(kind, body)
        self.guest.heard = [said for said in self.guest.heard if said[0] not in ("msg", "event")]
        while self.inbox._queue:
            message = done(self.inbox.next())
            self.shown.append(message)
            self.inbox.acknowledge(message.n)
        return moved

    def _sent(self, result: object) -> None:
        self._busy = False
        if isinstance(result, Failure):
            result.raiseException()

    def hear(self, kind: bytes, body: bytes) -> None:
        self.parts.heard(Event(kind.decode(), read_json(body)))

    # -- what its user sees

    @property
    def texts(self) -> list[str]:
        """What was shown, as ``alice: hello``."""
        return [f"{one.sender}: {one.body.decode()}" for one in self.shown]

    @property
    def words(self) -> list[str]:
        """What was remarked."""
        return [event.data["words"] for event in self.events]


def keys_sent(one: Member) -> list[str]:
    """To whom somebody has sent room keys."""
    return [to for to, kind in one.told if kind == roomkey.CONTENT_TYPE]
