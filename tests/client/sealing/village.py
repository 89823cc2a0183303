"""Several clients at one relay in memory, with the real protocol between them.

The relay carries, serves keys, and lies when a test says so.
"""

from __future__ import annotations

import os
import pathlib
import typing
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock

from securerelay.client import Message
from securerelay.client.client import Client
from securerelay.client.journal import Journal
from securerelay.client.lane import InlineLane
from securerelay.client.peer import ProfileIdentity
from securerelay.client.sealing.sealing import Sealing
from securerelay.client.state import State
from securerelay.errors import Refused, RemoteError
from securerelay.identity.profile import Profile
from securerelay.protocol import lines, messages
from securerelay.sealing import bundle
from tests.client import relay as plain
from tests.client.relay import NOW, date
from tests.keys import rsa_key
from tests.network import Network, outcome

DAY = 86_400.0
Answer = dict[str, typing.Any]


@dataclass(frozen=True)
class Post:
    """A message as the relay carries it."""

    sender: bytes
    to: bytes
    stream: bytes
    seq: int
    body: bytes


@dataclass
class Mailbox:
    """What waits for a peer: n and message, up to what was acknowledged."""

    posts: dict[int, Post] = field(default_factory=dict)
    last: int = 0


class Relay(plain.Relay):
    """A relay with mailboxes and keys.

    Attributes:
        carry: what becomes of a message: the messages that reach mailboxes in its place.
        serve: what becomes of an entry that ``key.fetch`` would give somebody.
        bundles: what was published, oldest first.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.mailboxes: dict[bytes, Mailbox] = {}
        self.bundles: dict[str, list[bytes]] = {}
        self.carry: Callable[[Post], list[Post]] = lambda post: [post]
        self.serve: Callable[[str, str, Answer], Answer | None] = lambda to, name, entry: entry
        self.carried: list[Post] = []

    def factory(self) -> Factory:
        return Factory.forProtocol(lambda: Session(self))

    def take(self, post: Post) -> None:
        self.carried.append(post)
        for one in self.carry(post):
            self.put(one)

    def put(self, post: Post) -> None:
        box = self.mailboxes.setdefault(post.to, Mailbox())
        box.last += 1
        box.posts[box.last] = post
        for session in self.sessions:
            session.push()

    def publish(self, name: str, raw: bytes) -> Answer:
        read = bundle.read(raw, name, self.authority.spki)
        before = self.bundles.setdefault(name, [])
        if before and bundle.read(before[-1], name, self.authority.spki).number >= read.number:
            raise Refused("stale", "the relay has a newer one")
        before.append(raw)
        return {}

    def fetch(self, asker: str, names: list[str]) -> Answer:
        entries = {}
        for name in names:
            raw = self.bundles.get(name)
            entry: Answer | None = None
            if raw is not None:
                entry = {"state": "active", "bundle": lines.encode(raw[-1])}
                entry = self.serve(asker, name, entry)
            elif name.encode() in self.mailboxes:
                entry = {"state": "active", "bundle": None}
            entries[name] = entry
        return {"bundles": entries}


class Session(plain.Session):
    """One peer's connection."""

    relay: Relay

    @property
    def name(self) -> str:
        assert self.peer is not None
        return self.peer.name

    def send(self, seq: int, to: bytes, ttl: int | None, receipt: bool, body: bytes) -> None:
        known = to in self.relay.mailboxes or to.startswith(b"@")
        before = self.relay.streams[self.stream_id]
        if not known and before < seq:
            self.relay.said.append(("send", seq, to, ttl, receipt, body))
            self.relay.streams[self.stream_id] = seq
            self.say(messages.no(seq, b"unknown"))
            return
        super().send(seq, to, ttl, receipt, body)
        if before < self.relay.streams[self.stream_id] and self.relay.verdict(seq, to) is None:
            self.relay.take(Post(self.name.encode(), to, self.stream_id, seq, body))

    def listen(self, after: int) -> None:
        self.relay.said.append(("listen", after))
        self.listening = after
        box = self.relay.mailboxes[self.name.encode()]
        self.say(messages.listening(min(box.posts, default=box.last + 1), box.last))
        self.push()

    def push(self) -> None:
        if self.listening is None:
            return
        for n, post in sorted(self.relay.mailboxes[self.name.encode()].posts.items()):
            if n > self.listening:
                self.listening = n
                time = int(self.relay.now() * 1000)
                header = messages.msg_header(
                    *(n, post.sender, post.to, post.stream, post.seq, time, len(post.body))
                )
                self.say(header + post.body)

    def ack(self, number: int) -> None:
        super().ack(number)
        posts = self.relay.mailboxes[self.name.encode()].posts
        for n in [n for n in posts if n <= number]:
            del posts[n]

    def call(self, tag: bytes, method: bytes, body: bytes) -> None:
        relay = self.relay
        relay.answers[b"key.publish"] = lambda asked: relay.publish(
            self.name, lines.decode(asked["bundle"])
        )
        relay.answers[b"key.fetch"] = lambda asked: relay.fetch(self.name, asked["peers"])
        super().call(tag, method, body)


class Person:
    """A peer with a profile and at most one program at a time."""

    def __init__(self, village: Village, name: str, index: int) -> None:
        self.village, self.name = village, name
        relay = village.relay
        self.network = Network(relay.factory())
        invitation = relay.invite(name)
        key = rsa_key(index=10 + index)
        self.profile = Profile.join(village.folder / name, invitation, key=key)
        der = relay.authority.issue_peer(name, self.profile.enrolment().spki, date(relay.now())).der
        self.profile.accept(
            der, ca_spki=relay.authority.spki, relay_name="relay", now=date(relay.now())
        )
        relay.mailboxes.setdefault(name.encode(), Mailbox())
        self.shown: list[Message] = []
        self.notices: list[str] = []
        self.refusals: list[tuple[str, str]] = []
        self.client = self.new_client()

    def new_client(self) -> Client:
        village = self.village
        self.lane = InlineLane()
        journal = Journal(self.profile.path, self.lane, village.clock, village.relay.now)
        self.profile.key()
        self.sealing = Sealing(self.profile, journal, village.clock, proofs=False)
        self.listening = None
        return Client(
            ProfileIdentity(self.profile, now=village.relay.now),
            self.name,
            [("relay.example:3000", self.network)],
            village.clock,
            jitter=lambda: 0.0,
            now=village.relay.now,
            journal=journal,
            sealing=self.sealing,
        )

    # -- what a user does

    def start(self, listen: bool = True) -> Person:
        self.events = self.client.events("notice", "refused")
        if listen:
            self.listening = self.client.listen()
            self.waiting: Deferred[Message] | None = None
        self.client.startService()
        self.village.run(1)
        assert self.client.is_connected
        return self

    def stop(self) -> None:
        closing = self.client.close()
        self.village.run(2)
        assert closing.called
        self.client = self.new_client()

    def restart(self, listen: bool = True) -> Person:
        self.stop()
        return self.start(listen)

    def kill(self) -> None:
        """Have the program die: its sockets close and its locks go, and no more."""
        journal = self.sealing.journal
        if journal._owner is not None:
            os.close(journal._owner[1]._descriptor)
        self.lane.held = True
        self.network.factory = None
        if self.network.pumps:
            self.network.cut()
        self.client._link._service.stopService()
        self.sealing.fail(RemoteError("dead"))
        for call in self.village.clock.getDelayedCalls():
            if getattr(call.func, "__self__", None) in (self.client, journal, self.sealing):
                call.cancel()
        self.network.factory = self.village.relay.factory()
        self.listening = None
        self.client = self.new_client()

    def say(self, to: str, text: str, **options: typing.Any) -> object:
        """Send, and tell what it came to."""
        sending = self.client.send(to, text.encode(), content_type="text/plain", **options)
        self.village.run(2)
        return outcome(sending)

    def look(self) -> None:
        """Read what came, each message as soon as it is there."""
        while self.listening is not None:
            if self.waiting is None:
                self.waiting = self.listening.next()
            if not self.waiting.called:
                break
            message = outcome(self.waiting)
            self.waiting = None
            if not isinstance(message, Message):
                self.listening = None
                break
            self.shown.append(message)
        while self.events._queue:
            event = self.events._queue.popleft()
            if event.kind == "notice":
                self.notices.append(event.data["words"])
            else:
                self.refusals.append((event.data["to"], event.data["code"]))

    # -- what is looked at

    @property
    def texts(self) -> list[str]:
        return [one.body.decode() for one in self.shown]

    def forget(self) -> None:
        """Look only at what is shown from now on."""
        self.shown.clear()
        self.notices.clear()
        self.refusals.clear()

    def on_disk(self, job: Callable[[State], typing.Any]) -> typing.Any:
        state = State(self.profile.path)
        try:
            (result,) = state.run([job])
            return result
        finally:
            state.close()

    def states(self) -> list[str]:
        return self.on_disk(lambda state: [record.state for record in state.sent(100)])

    def bytes_on_disk(self) -> bytes:
        return b"".join(
            path.read_bytes() for path in self.profile.path.rglob("*") if path.is_file()
        )


class Village:
    """People at one relay."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.relay = Relay(self.clock)
        self.people: dict[str, Person] = {}

    def person(self, name: str) -> Person:
        if name not in self.people:
            self.people[name] = Person(self, name, len(self.people))
        return self.people[name]

    def settle(self, *names: str) -> list[Person]:
        """Have people join, connect and listen."""
        return [self.person(name).start() for name in names]

    def run(self, seconds: float = 0.0) -> None:
        left = seconds
        self._move()
        while left > 0:
            step = min(left, 0.25 if left <= 5 else left / 20)
            self.clock.advance(step)
            self._move()
            left -= step

    def pass_(self, seconds: float) -> None:
        """Let much time pass, in which what happens once an hour happens."""
        left = seconds
        while left > 0:
            step = min(left, 900.0)
            self.clock.advance(step)
            self._move()
            left -= step

    def _move(self) -> None:
        for _ in range(6):
            for one in self.people.values():
                one.network.run()
                self.clock.advance(0)
                if hasattr(one, "events"):
                    one.look()

    def altered(self, post: Post, **changes: typing.Any) -> Post:
        return replace(post, **changes)


__all__ = ["DAY", "NOW", "Person", "Post", "Relay", "Village"]
