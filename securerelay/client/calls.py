"""The control plane: calls that await an answer, and events that just come (SR1 section 5)."""

from __future__ import annotations

import json
import typing
from collections import deque
from dataclasses import dataclass

from twisted.internet.defer import Deferred, succeed

from securerelay.errors import Refused, RemoteError
from securerelay.protocol import messages

MAX_OPEN = 256
"""Calls unanswered at a time."""
RELAYED = frozenset({"presence", "room", "expired", "missed"})
"""Kinds of events that a relay tells; the others are this program's own, and no relay's to say."""
EVENTS_KEPT = 1024
"""Events kept for a reader who is slow; older ones are dropped."""


def read_json(body: bytes) -> dict[str, typing.Any]:
    """Read the JSON object that a reply or an event carries.

    Raises:
        RemoteError: ``protocol`` if it is no JSON object.
    """
    try:
        value = json.loads(body) if body else {}
    except (ValueError, RecursionError) as error:
        raise RemoteError("protocol", f"no JSON: {type(error).__name__}") from None
    if not isinstance(value, dict):
        raise RemoteError("protocol", "JSON, but no object")
    return value


def bundle_entry(answer: dict[str, typing.Any], name: str) -> dict[str, typing.Any]:
    """Return what ``key.fetch`` answered about a name; nothing if there is no such peer.

    Raises:
        RemoteError: ``protocol`` for an answer of another form.
    """
    bundles = answer.get("bundles")
    entry = (bundles.get(name) or {}) if isinstance(bundles, dict) else None
    if not isinstance(entry, dict):
        raise RemoteError("protocol", "key.fetch answered without bundles")
    return entry


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened without being asked for.

    Attributes:
        kind: ``presence``, ``expired``, ... as the relay names it; ``receipt`` and ``refused`` for
            messages sent earlier; ``connected`` and ``disconnected`` for this client's own
            connection.
        data: what the event tells.
    """

    kind: str
    data: dict[str, typing.Any]


class Calls:
    """The calls of a session that have no answer yet."""

    def __init__(self) -> None:
        self._open: dict[bytes, Deferred[dict[str, typing.Any]]] = {}
        self._queue: list[bytes] = []
        self._count = 0

    def add(
        self, method: str, parameters: dict[str, typing.Any]
    ) -> Deferred[dict[str, typing.Any]]:
        """Queue a call.

        Args:
            method: its dotted name.
            parameters: a JSON object.

        Returns:
            The reply; it fails with :class:`Refused` and the relay's code. Cancel it to stop
            waiting.
        """
        if len(self._open) >= MAX_OPEN:
            raise Refused("busy", f"{MAX_OPEN} calls are unanswered already")
        body = json.dumps(parameters, separators=(",", ":")).encode()
        self._count += 1
        tag = b"%d" % self._count

        def forget(_: Deferred[dict[str, typing.Any]]) -> None:
            self._open.pop(tag, None)

        answer: Deferred[dict[str, typing.Any]] = Deferred(forget)
        self._open[tag] = answer
        self._queue.append(messages.call(tag, method.encode("ascii"), body))
        return answer

    def take(self) -> list[bytes]:
        """Return the encoded calls that were not written yet."""
        queue, self._queue = self._queue, []
        return queue

    def reply(self, tag: bytes, status: bytes, body: bytes) -> None:
        """Take an answer; one that nobody waits for any more is dropped."""
        if tag not in self._open:
            return
        said = read_json(body)  # what cannot be read ends the session, and the call with it
        answer = self._open.pop(tag)
        if status == b"ok":
            answer.callback(said)
        else:
            detail = said.get("message", "")
            answer.errback(Refused(status.decode("ascii", "replace"), str(detail)))

    def fail(self, error: Exception) -> None:
        """The session ended: no open call will be answered."""
        waiting, self._open, self._queue = self._open, {}, []
        for answer in waiting.values():
            answer.errback(error)


class Events:
    """The events from the moment it was made, for one reader: ``async for event in events``."""

    def __init__(self, kinds: frozenset[str], closed: typing.Callable[[Events], None]) -> None:
        self._kinds = kinds
        self._closed = closed
        self._queue: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._waiting: Deferred[Event] | None = None
        self._error: Exception | None = None

    def put(self, event: Event) -> None:
        """Add an event, if it is of the kinds that are wanted."""
        if self._kinds and event.kind not in self._kinds:
            return
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(event)
        else:
            self._queue.append(event)

    def fail(self, error: Exception) -> None:
        """No more events will come."""
        self._error = error
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.errback(error)

    def next(self) -> Deferred[Event]:
        """Return the next event, now or when it happens; cancel it to stop waiting."""
        if self._queue:
            return succeed(self._queue.popleft())

        def forget(_: Deferred[Event]) -> None:
            self._waiting = None

        waiting: Deferred[Event] = Deferred(forget)
        if self._error is not None:
            waiting.errback(self._error)
        else:
            self._waiting = waiting
        return waiting

    def close(self) -> None:
        """Stop collecting."""
        self._closed(self)

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> Event:
        return await self.next()
