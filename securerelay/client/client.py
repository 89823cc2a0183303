"""The public face of the client library: :class:`Client` sends, listens, calls, hears events.

A client is a Twisted service.  Once started it stays connected, connects again when the connection
is lost, and keeps what was not yet accepted until it is.  Everything that waits has a deadline.
"""

# More than 400 lines: half of it says to programs what they may ask and what they get.

from __future__ import annotations

import contextlib
import random
import time
import typing
from collections.abc import Callable, Sequence

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from securerelay import names
from securerelay.client.calls import Events
from securerelay.client.drain import Drains
from securerelay.client.entry import Entry, Fate, Sent, Wait
from securerelay.client.journal import Journal
from securerelay.client.link import Identity, Link
from securerelay.client.once import send_once
from securerelay.client.receiving import Messages
from securerelay.client.sealing.sealing import Sealing
from securerelay.client.session import Session
from securerelay.client.waiting import within, words_for
from securerelay.errors import ConnectError, LocalError, Refused, SecureRelayError, TimedOut
from securerelay.sealing.plaintext import MAX_BODY

TIMEOUT = 60.0
"""Seconds that a send or a call waits for its answer unless told otherwise."""
GOODBYE = 2.0
"""Seconds that a client which is closed stays to tell others what was read."""
POLL = 5.0
"""Seconds between looks for what other programs of the profile have left in the outbox."""
AGAIN = frozenset({"rate", "busy", "storage-full"})
"""Answers to a call that mean "try again"."""


class Client(Service):
    """One peer's connection to its relay, kept up while the service runs.

    Args:
        identity: who connects.
        name: the peer's name.
        endpoints: where to connect: an address for people, and an endpoint; tried in turn.
        clock: the reactor.
        jitter: spreads reconnections, 0.0 to 1.0.
        now: Unix seconds.
        journal: what the profile keeps on disk; None to keep messages in memory alone.
        sealing: seals what is sent and opens what comes, with the same journal; None to carry
            bodies as they are given.
        strict: whether a body that is not sealed has to be said to be plain.
    """

    _log = Logger()

    def __init__(
        self,
        identity: Identity,
        name: str,
        endpoints: Sequence[tuple[str, IStreamClientEndpoint]],
        clock: IReactorTime,
        jitter: Callable[[], float] = random.random,
        now: Callable[[], float] = time.time,
        journal: Journal | None = None,
        sealing: Sealing | None = None,
        strict: bool = False,
    ) -> None:
        self.peer = name
        self._clock = clock
        self._attempts = len(endpoints)
        self._identity = identity
        self._journal = journal
        self.sealing = sealing
        self._strict = strict
        self._session = Session(clock, journal, begun=self._begun, sealing=sealing)
        if sealing is not None:
            sealing.reach(self.call, lambda: self._link.welcome)

        def connect(session: Session) -> Link:
            return Link(identity, session, endpoints, clock, jitter, now)

        self._link = connect(self._session)
        self._drains = None
        if journal is not None:
            self._drains = Drains(journal, connect, clock, len(endpoints), sealing)
        self._poll: IDelayedCall | None = None
        self._closing: Deferred[None] | None = None

    # -- the service

    def startService(self) -> None:
        """Connect, and stay connected."""
        super().startService()
        self._link.start()

    def stopService(self) -> Deferred[None]:
        """Say goodbye; who still waits for a verdict hears ConnectError.

        With a journal the messages stay in the outbox, and leave with the next program that
        connects as this peer.
        """
        super().stopService()
        return self.close()

    def close(self) -> Deferred[None]:
        """As :meth:`stopService`, for those who hold a client by themselves."""
        if self._closing is None:
            self._closing = Deferred()
            Deferred.fromCoroutine(self._close()).chainDeferred(self._closing)
        closed: Deferred[None] = Deferred()
        self._closing.addBoth(lambda _: closed.callback(None))
        return closed

    async def _close(self) -> None:
        if self._poll is not None and self._poll.active():
            self._poll.cancel()
        if self._journal is None or self._drains is None:
            await self._link.stop()
            return
        await self._tell_what_was_read()
        self._drains.stop()
        # What was dealt with is on disk before the relay hears of it, and hears of it before we go.
        await self._journal.flush()
        nothing_left = not len(self._session.outbox)
        if self.sealing is not None:
            nothing_left = nothing_left and not len(self.sealing.sealer.held)
        await self._link.stop()
        await self._journal.close(nothing_left)

    async def _tell_what_was_read(self) -> None:
        """Tell it before we go; what does not leave in time stays in the outbox."""
        assert self._journal is not None, "asked before"
        await self._journal.flush()
        if self.sealing is not None and self.sealing.reading.flush() and self.is_connected:
            with contextlib.suppress(SecureRelayError):
                await self.drain(GOODBYE)

    def _begun(self) -> None:
        if self.sealing is not None:
            self.sealing.connected()
        if self._drains is not None:
            self._look_for_left(receipts=False)

    def _look_for_left(self, receipts: bool = True) -> None:
        """Send what programs of this profile that are gone have left, now and again."""
        if self._drains is None or self._closing is not None:
            return
        if self._poll is not None and self._poll.active():
            self._poll.cancel()
        self._poll = self._clock.callLater(POLL, self._look_for_left)
        if self.is_connected and not self._drains.busy:
            self._drains.drain(self._lifetimes(receipts)).addErrback(self._not_drained)

    def _lifetimes(self, receipts: bool) -> tuple[int, int] | None:
        return (self._session.lifetime, self._session.longest) if receipts else None

    def _not_drained(self, failure: Failure) -> None:
        self._log.info("the outbox is not empty yet: {error}", error=failure.value)

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
        wait: Wait = "accepted",
        timeout: float | None = TIMEOUT,
        once: str | None = None,
        content_type: str | None = None,
        plain: bool = False,
    ) -> Deferred[Sent]:
        """Send a message, and wait for what becomes of it.

        Messages leave in the order of the calls. While there is no connection they wait, and leave
        in the next one. With a journal they do so even if this program ends before: then the next
        program that connects as this peer sends them.

        Args:
            to: a peer, or a room (``@name``).
            body: what to carry.
            ttl: seconds that the relay keeps it for an absent recipient; None for the relay's
                default, 0 to hand it over now or not at all; such a message is never journaled.
            receipt: have the recipient's acknowledgement told: by the relay as an event
                ``receipt``, and by the recipient itself, if it is sealed, as an event ``read``.
            wait: ``queued`` until the message is on this machine's disk, ``accepted`` until the
                relay answers for it, ``delivered`` until the recipient's client has acknowledged
                it.
            timeout: seconds to wait; None for as long as it takes.
            once: a key that names this message: however often it is sent with the same key within
                30 days, from any program of the profile, it arrives once.
            content_type: what the body is, such as ``text/plain``; sealed with it.
            plain: have the relay carry the body as it is, for a service that cannot open what is
                sealed.

        Returns:
            What became of it.

        Raises:
            Refused: through the Deferred: ``unknown``, ``offline``, ``not-permitted``,
                ``mailbox-full``, ...; ``unconfirmed`` if the relay forgot the stream before it had
                answered, so that the message may have arrived or not.
            TimedOut: through the Deferred; the error's message says whether it may still arrive.
            BadName: through the Deferred: no such name can exist.
            StorageError: through the Deferred: it could not be journaled, and was not sent.
            LocalError: through the Deferred: the key was used for another message.
        """
        try:
            receipt = receipt or wait == "delivered"
            entry = self._entry(to, body, ttl, receipt, wait, content_type, plain)
            if once is not None:
                return self._send_once(entry, once, timeout)
        except SecureRelayError as error:
            return fail(error)
        fate: Fate = "unsent"

        def give_up(_: Deferred[Sent]) -> None:
            nonlocal fate
            fate = self._session.withdraw(entry)

        def late() -> TimedOut:
            return TimedOut(words_for(fate, to))

        entry.done = Deferred(give_up)
        waiting = within(entry.done, timeout, self._clock, late)
        self._session.post(entry)
        return waiting

    def _send_once(self, entry: Entry, key: str, timeout: float | None) -> Deferred[Sent]:
        if self._journal is None or self._drains is None or entry.ttl == 0:
            raise LocalError("a message with a key needs a journal, and a lifetime")
        stream, to = self._identity.once(key), entry.to.decode()
        sending = send_once(
            *(self._journal, self._drains, self._clock, entry, stream),
            lambda: bool(self.running),
            self._session.outbox.pack,
        )
        waiting = Deferred.fromCoroutine(sending)
        return within(waiting, timeout, self._clock, lambda: TimedOut(words_for("queued", to)))

    def post(
        self,
        to: str,
        body: bytes,
        *,
        ttl: int | None = None,
        receipt: bool = False,
        content_type: str | None = None,
        plain: bool = False,
    ) -> Deferred[None]:
        """Hand a message over without waiting for its verdict, for many messages in a row.

        With a journal it is on disk a moment later; :meth:`journaled` says when. A refusal comes
        as an event ``refused``. :meth:`drain` waits for all verdicts.

        Args:
            to: a peer, or a room.
            body: what to carry.
            ttl: as in :meth:`send`.
            receipt: as in :meth:`send`.
            content_type: as in :meth:`send`.
            plain: as in :meth:`send`.

        Returns:
            Fires when there is room for the next message: at once, unless too many are unanswered.
        """
        try:
            entry = self._entry(to, body, ttl, receipt, "accepted", content_type, plain)
        except SecureRelayError as error:
            return fail(error)
        self._session.post(entry)
        return self._session.space() or succeed(None)

    def _entry(
        self,
        to: str,
        body: bytes,
        ttl: int | None,
        receipt: bool,
        wait: Wait,
        content_type: str | None,
        plain: bool,
    ) -> Entry:
        self._link.check()
        if to[:1] == "@":
            names.check_room(to)
        else:
            names.check_peer(to)
        letter = None
        if self.sealing is not None and not plain:
            letter = self.sealing.letter(to, content_type)
        elif self._strict and not plain:
            raise LocalError("a client that keeps nothing on disk cannot seal; say plain=True")
        limit = self._session.limit if letter is None else min(self._session.limit, MAX_BODY)
        if len(body) > limit:
            raise Refused("too-large", f"{len(body)} bytes; at most {limit}")
        if ttl != 0 and self._journal is not None:
            self._journal.own()
        elif wait == "queued":
            raise LocalError("only a message that is journaled can wait in the outbox")
        return Entry(to.encode(), bytes(body), ttl, receipt, wait, letter=letter)

    def journaled(self) -> Deferred[None]:
        """Wait until everything that was sent or posted so far is on this machine's disk."""
        return self._journal.flush() if self._journal is not None else succeed(None)

    async def queued(self) -> int:
        """Count the profile's messages that have no verdict, those of other programs included."""
        if self._journal is None:
            return len(self._session.outbox)
        return await self._journal.do(lambda state: state.queued(), write=False)

    async def flush(self, timeout: float | None = TIMEOUT, receipts: bool = True) -> int:
        """Send what earlier programs of this profile have left, and ask for missing receipts.

        Args:
            timeout: seconds in which to do it.
            receipts: whether to ask for receipts.

        Returns:
            How many of their streams were drained.

        Raises:
            TimedOut: it took longer; what is left stays in the outbox.
        """
        if self._drains is None:
            return 0
        return await within(
            Deferred.fromCoroutine(self._flush(self._drains, receipts)),
            timeout,
            self._clock,
            lambda: TimedOut("the outbox could not be emptied in time; what is left stays there"),
        )

    async def _flush(self, drains: Drains, receipts: bool) -> int:
        drained = await drains.drain(self._lifetimes(receipts), again_after=0)
        # What was held by other programs leaves in our own stream, as far as it can.
        with contextlib.suppress(Refused):
            await self._drained()
        return drained

    def drain(self, timeout: float | None = TIMEOUT) -> Deferred[None]:
        """Wait until the relay has answered for every message.

        Raises:
            TimedOut: through the Deferred, if there are still some.
            Refused: through the Deferred, if some stay in the outbox because they cannot be sealed
                for their recipient now; it says why.
        """
        outbox = self._session.outbox
        return within(
            Deferred.fromCoroutine(self._drained()),
            timeout,
            self._clock,
            lambda: TimedOut(f"{len(outbox)} messages have no answer yet"),
        )

    async def _drained(self) -> None:
        if self.sealing is not None:
            await self.sealing.sealer.settled()
        await (self._session.outbox.empty() or succeed(None))

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
