"""Peers that reach each other through nothing but memory, with the client's own inbox."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from securerelay.cli.output import Output
from securerelay.client import Message, Messages, Sent
from securerelay.client.inbox import Inbox
from securerelay.errors import Refused


class Reactor(Clock):
    """A clock whose threads do their work at once."""

    def getThreadPool(self) -> Reactor:
        return self

    def callInThreadWithCallback(
        self, told: Callable[[bool, Any], None], work: Callable[..., Any], *given: Any
    ) -> None:
        told(True, work(*given))

    def callFromThread(self, function: Callable[..., None], *given: Any) -> None:
        function(*given)


class Office:
    """Carries messages between peers when a test says so."""

    def __init__(self) -> None:
        self.clock = Reactor()
        self.peers: dict[str, Peer] = {}
        self.queue: deque[Callable[[], None]] = deque()
        self.works: list[Deferred[Any]] = []

    def run(self) -> None:
        """Carry until there is nothing left to carry."""
        while self.queue:
            self.queue.popleft()()
            self.clock.advance(0)

    def close(self) -> None:
        """End whatever still goes on."""
        for work in self.works:
            work.addErrback(lambda _: None)
            work.cancel()
        for _ in range(9):
            self.clock.advance(1)


class Peer:
    """The part of a client that verbs use."""

    def __init__(self, office: Office, name: str) -> None:
        self.office = office
        self.peer = name
        self.listening = False
        self.inbox = Inbox()
        self.sent: list[tuple[str, bytes]] = []
        self.refuse: str | None = None
        self.hold: deque[Deferred[Sent]] | None = None
        self.stream = secrets.token_urlsafe(16).encode()
        office.peers[name] = self

    def listen(self) -> Messages:
        self.listening = True
        return Messages(self.inbox, self.office.clock)

    def send(
        self, to: str, body: bytes, *, ttl: int | None = None, **options: Any
    ) -> Deferred[Sent]:
        self.sent.append((to, body))
        done: Deferred[Sent] = Deferred()
        seq = len(self.sent)
        if self.hold is not None:
            self.hold.append(done)
        else:
            self.office.queue.append(lambda: self._carry(to, body, ttl, seq, done))
        return done

    def _carry(self, to: str, body: bytes, ttl: int | None, seq: int, done: Deferred[Sent]) -> None:
        other = self.office.peers.get(to)
        if self.refuse or other is None:
            done.errback(Refused(self.refuse or "unknown"))
        elif ttl == 0 and not other.listening:
            done.errback(Refused("offline"))
        else:
            done.callback(Sent("s" * 22, seq))
            other.get(self.peer, body, self.stream, seq)

    def get(self, sender: str, body: bytes, stream: bytes = b"s" * 22, seq: int = 0) -> None:
        """Have a message come, sealed by somebody known."""
        self.inbox.last = n = self.inbox.last + 1
        name = stream.decode()
        message = Message(
            *(sender, self.peer, body, 1_700_000_000_000, n, name, seq or n, self.inbox),
            *("text/plain", "seen"),
            sealed=True,
        )
        self.inbox.show(message, (((sender, name), seq or n),))


class Lines:
    """An input that a test types into."""

    def __init__(self, *lines: bytes | None) -> None:
        self.lines: deque[bytes | None] = deque(lines)
        self.waiting: Deferred[bytes | None] | None = None

    def type(self, line: bytes | None) -> None:
        if self.waiting is None:
            self.lines.append(line)
        else:
            waiting, self.waiting = self.waiting, None
            waiting.callback(line)

    async def line(self) -> bytes | None:
        if self.lines:
            return self.lines.popleft()
        self.waiting = Deferred(lambda _: setattr(self, "waiting", None))
        return await self.waiting


class Record(Output):
    """Keeps what a verb says instead of writing it."""

    def __init__(self, json: bool = False) -> None:
        super().__init__(json)
        self.said: list[dict[str, Any]] = []
        self.lines: list[str] = []
        self.notes: list[str] = []

    def say(self, record: Any, template: str, **also: object) -> None:
        self.said.append(dict(record))
        super().say(record, template, **also)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def _write(self, stream: object, line: str) -> None:  # type: ignore[override]
        self.lines.append(line)
