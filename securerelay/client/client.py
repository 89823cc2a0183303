"""The public face of the client library: :class:`Client` sends, listens, calls, hears events.

A client is a Twisted service.  Once started it stays connected, connects again when the connection
is lost, and keeps what was not yet accepted until it is.  Everything that waits has a deadline.
"""

from __future__ import annotations

import random
import time
import typing
from collections.abc import Callable, Sequence

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from securerelay import names
from securerelay.client.calls import Events
from securerelay.client.inbox import Inbox, Message
from securerelay.client.link import Identity, Link
from securerelay.client.outbox import Entry, Sent
from securerelay.client.session import Session
from securerelay.errors import ConnectError, LocalError, Refused, SecureRelayError, TimedOut

TIMEOUT = 60.0
"""Seconds that a send or a call waits for its answer unless told otherwise."""
AGAIN = frozenset({"rate", "busy", "storage-full"})
"""Answers to a call that mean "try again"."""

T = typing.TypeVar("T")


def within(
    waiting: Deferred[T], seconds: float | None, clock: IReactorTime, say: Callable[[], LocalError]
) -> Deferred[T]:
    """Give a Deferred a deadline.

    Args:
        waiting: what to wait for; it is cancelled when the time is over.
        seconds: how long; None for as long as it takes.
        clock: the reactor.
        say: makes the error with which it then fails.
    """
    if seconds is None or waiting.called:
        return waiting

    def late(result: object, _: float) -> typing.NoReturn:
        if isinstance(result, Failure) and result.check(CancelledError):
            raise say()
        raise AssertionError("only a cancelled wait is late")

    return waiting.addTimeout(seconds, clock, onTimeoutCancel=late)


class Messages:
    """Messages as they come: ``async for message in client.listen()``.

    Asking for the next message acknowledges the one before; one that is never followed by that
    question, nor by ``await message.ack()``, stays with the relay and comes again.
    """

    def __init__(self, inbox: Inbox, clock: IReactorTime) -> None:
        self._inbox = inbox
        self._clock = clock
        self._handed: Message | None = None

    def next(self, timeout: float | None = None) -> Deferred[Message]:
        """Return the next message and acknowledge the one before.

        Args:
            timeout: seconds to wait for it; None for as long as it takes.

        Raises:
            TimedOut: through the Deferred, if none came.
            Refused: ``replaced``, if another session of this peer listens now.
        """
        if self._handed is not None:
            handed, self._handed = self._handed, None
            self._inbox.acknowledge(handed.n)
        waiting = within(
            self._inbox.next(), timeout, self._clock, lambda: TimedOut("no message came in time")
        )
        return waiting.addCallback(self._hand)

    def _hand(self, message: Message) -> Message:
        self._handed = message
        return message

    def __aiter__(self) -> Messages:
        return self

    async def __anext__(self) -> Message:
        return await self.next()


class Client(Service):
    """One peer's connection to its relay, kept up while the service runs.

    Args:
        identity: who connects.
        name: the peer's name.
        endpoints: where to connect: an address for people, and an endpoint; tried in turn.
        clock: the reactor.
        jitter: spreads reconnections, 0.0 to 1.0.
        now: Unix seconds.
    """

    def __init__(
        self,
        identity: Identity,
        name: str,
        endpoints: Sequence[tuple[str, IStreamClientEndpoint]],
        clock: IReactorTime,
        jitter: Callable[[], float] = random.random,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.peer = name
        self._clock = clock
        self._attempts = len(endpoints)
        self._session = Session(clock)
        self._link = Link(identity, self._session, endpoints, clock, jitter, now)

    # -- the service

    def startService(self) -> None:
        """Connect, and stay connected."""
        super().startService()
        self._link.start()

    def stopService(self) -> Deferred[None]:
        """Say goodbye; what has no verdict yet fails with ConnectError."""
        super().stopService()
        return self._link.stop()

    def close(self) -> Deferred[None]:
        """As :meth:`stopService`, for those who hold a client by themselves."""
        return self.stopService() if self.running else succeed(None)

    def connected(
        self, attempts: int | None = None, timeout: float | None = TIMEOUT
    ) -> Deferred[None]:
        """Wait for a connection.

        Args:
            attempts: give up after so many failed attempts; None to go on until the timeout.
            timeout: seconds.

        Raises:
            ConnectError: through the Deferred: no relay could be reached.
            AuthenticationFailed: the relay is not ours, or does not accept us.
        """
        return within(
            self._link.connected(attempts),
            timeout,
            self._clock,
            lambda: ConnectError(f"no connection to the relay within {timeout:g} seconds"),
        )

    @property
    def attempts(self) -> int:
        """Attempts after which every address of the relay has been tried once."""
        return self._attempts

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection at this moment."""
        return self._link.welcome is not None

    @property
    def relay(self) -> str | None:
        """The relay's name in its certificate; None if not connected, or since a resumption."""
        return self._link.welcome.relay_name if self._link.welcome else None

    @property
    def session_id(self) -> bytes | None:
        """The public name of the present session, the same at both ends; 16 bytes."""
        return self._link.session_id

    # -- messages

    def send(
        self,
        to: str,
        body: bytes,
        *,
        ttl: int | None = None,
        receipt: bool = False,
        wait: typing.Literal["accepted", "delivered"] = "accepted",
        timeout: float | None = TIMEOUT,
    ) -> Deferred[Sent]:
        """Send a message, and wait for what becomes of it.

        Messages leave in the order of the calls. While there is no connection they wait, and leave
        in the next one.

        Args:
            to: a peer, or a room (``@name``).
            body: what to carry.
            ttl: seconds that the relay keeps it for an absent recipient; None for the relay's
                default, 0 to hand it over now or not at all.
            receipt: have the recipient's acknowledgement told as an event ``receipt``.
            wait: ``accepted`` until the relay answers for it, ``delivered`` until the recipient's
                client has acknowledged it.
            timeout: seconds to wait; None for as long as it takes.

        Returns:
            What became of it.

        Raises:
            Refused: through the Deferred: ``unknown``, ``offline``, ``not-permitted``,
                ``mailbox-full``, ...
            TimedOut: through the Deferred; the error's message says whether it may still arrive.
            BadName: through the Deferred: no such name can exist.
        """
        delivered = wait == "delivered"
        left = True

        def take_back(_: Deferred[Sent]) -> None:
            nonlocal left
            left = not self._session.outbox.withdraw(entry)

        def late() -> TimedOut:
            if not left:
                return TimedOut("there was no connection in time; the message was not sent")
            who = (
                f"{to} did not acknowledge the message" if delivered else "the relay did not answer"
            )
            return TimedOut(f"{who} in time; it may still arrive")

        try:
            entry = self._entry(to, body, ttl, receipt or delivered)
        except SecureRelayError as error:
            return fail(error)
        entry.until_delivered = delivered
        entry.done = Deferred(take_back)
        self._session.post(entry)
        return within(entry.done, timeout, self._clock, late)

    def post(
        self, to: str, body: bytes, *, ttl: int | None = None, receipt: bool = False
    ) -> Deferred[None]:
        """Hand a message over without waiting for its verdict, for many messages in a row.

        A refusal comes as an event ``refused``. :meth:`drain` waits for all verdicts.

        Args:
            to: a peer, or a room.
            body: what to carry.
            ttl: as in :meth:`send`.
            receipt: as in :meth:`send`.

        Returns:
            Fires when there is room for the next message: at once, unless too many are unanswered.
        """
        try:
            entry = self._entry(to, body, ttl, receipt)
        except SecureRelayError as error:
            return fail(error)
        self._session.post(entry)
        return self._session.outbox.space() or succeed(None)

    def _entry(self, to: str, body: bytes, ttl: int | None, receipt: bool) -> Entry:
        self._link.check()
        if to[:1] == "@":
            names.check_room(to)
        else:
            names.check_peer(to)
        if len(body) > self._session.limit:
            raise Refused("too-large", f"{len(body)} bytes; at most {self._session.limit}")
        return Entry(to.encode(), bytes(body), ttl, receipt)

    def drain(self, timeout: float | None = TIMEOUT) -> Deferred[None]:
        """Wait until the relay has answered for every message.

        Raises:
            TimedOut: through the Deferred, if there are still some.
        """
        outbox = self._session.outbox
        return within(
            outbox.empty() or succeed(None),
            timeout,
            self._clock,
            lambda: TimedOut(f"{len(outbox)} messages have no answer yet"),
        )

    def listen(self) -> Messages:
        """Receive messages from now on, those that waited in the mailbox first.

        One session of a peer listens at a time: the newest. An earlier one ends with
        ``Refused("replaced")``.
        """
        self._session.start_listening()
        return Messages(self._session.inbox, self._clock)

    # -- control

    async def call(
        self,
        method: str,
        parameters: dict[str, typing.Any] | None = None,
        *,
        timeout: float = TIMEOUT,
    ) -> dict[str, typing.Any]:
        """Ask the relay something, such as ``peer.list``.

        Args:
            method: its dotted name.
            parameters: a JSON object.
            timeout: seconds for all of it, waiting for a connection included.

        Returns:
            The answer, a JSON object.

        Raises:
            Refused: the relay's code, ``unknown-method`` for one.
            TimedOut: no answer came.
            ConnectError: there is no connection, or it was lost before the answer came.
        """
        deadline = self._clock.seconds() + timeout
        pause = 0.1
        while True:
            await self.connected(timeout=max(0.0, deadline - self._clock.seconds()))
            answer = self._session.calls.add(method, parameters or {})
            self._session.wake()
            left = deadline - self._clock.seconds()
            try:
                return await within(
                    answer, left, self._clock, lambda: TimedOut(f"no answer to {method} in time")
                )
            except Refused as refusal:
                if refusal.code not in AGAIN or pause > deadline - self._clock.seconds():
                    raise
            await deferLater(self._clock, pause)
            pause *= 2

    def events(self, *kinds: str) -> Events:
        """Collect events from now on: ``async for event in client.events("receipt")``.

        Args:
            kinds: which; none for all.
        """
        return self._session.read_events(frozenset(kinds))

    async def watch(self) -> Events:
        """Hear of peers that come and go: events ``presence``, also after a reconnection."""
        events = self.events("presence", "connected", "disconnected")
        await self.call("peer.watch")
        self._session.watching = True
        return events
