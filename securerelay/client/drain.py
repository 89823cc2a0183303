"""Sends what programs of the profile that are gone have left in the outbox.

Each of their streams takes a session of its own, since a session opens one stream, and a stream is
extended by nobody but the program that made it.  The lock of its owner tells that this one is gone,
and keeps others from draining the same stream meanwhile.
"""

from __future__ import annotations

import base64
import contextlib
import secrets
from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from securerelay.client.entry import Entry, Sent
from securerelay.client.journal import Journal
from securerelay.client.link import Link
from securerelay.client.owners import Claim
from securerelay.client.pen import Pen
from securerelay.client.resumed import Resumed, Spent
from securerelay.client.rows import Left
from securerelay.client.sealing.sealing import Sealing
from securerelay.client.session import Session
from securerelay.client.state import State
from securerelay.errors import ConnectError, RemoteError, TimedOut

ASK_AGAIN = 600_000
"""Milliseconds after which a stream's receipts are asked for again."""
PAGE = 256
"""Messages read from the journal at a time."""
AT_ONCE = 16
"""Streams that are asked in one go what has expired in them; nobody waits for that."""


class Drains:
    """The draining of one profile's outbox.

    Args:
        journal: the profile's.
        connect: makes the connection for a session.
        clock: the reactor.
        attempts: failed attempts to connect after which to leave it for another time.
        sealing: seals what is left; None if only what is not sealed can be sent.
    """

    _log = Logger()

    def __init__(
        self,
        journal: Journal,
        connect: Callable[[Session], Link],
        clock: IReactorTime,
        attempts: int = 1,
        sealing: Sealing | None = None,
    ) -> None:
        self._journal = journal
        self._connect = connect
        self._clock = clock
        self._attempts = attempts
        self._sealing = sealing
        self._lock = DeferredLock()
        self._links: list[Link] = []
        self._stopped = False
        self._first = True
        self._looked = 0

    @property
    def busy(self) -> bool:
        """Whether something is being drained."""
        return bool(self._lock.locked)

    def drain(
        self, lifetimes: tuple[int, int] | None, again_after: int = ASK_AGAIN
    ) -> Deferred[int]:
        """Send what is left, one stream after the other.

        Args:
            lifetimes: to ask for missing receipts too, and for what has expired: the seconds that
                the relay keeps a message, by default and at most; None not to ask.
            again_after: but not for those that were asked for in so many milliseconds.

        Returns:
            How many streams were drained.

        Raises:
            SecureRelayError: through the Deferred, if that had to end early.
        """
        return self._lock.run(
            lambda: Deferred.fromCoroutine(self._drain_all(lifetimes, again_after))
        )

    def stop(self) -> None:
        """Drain no more; what is left stays in the journal."""
        self._stopped = True
        for link in list(self._links):
            link.stop()

    async def _drain_all(self, lifetimes: tuple[int, int] | None, again_after: int) -> int:
        journal, drained = self._journal, 0
        if self._first:
            self._first, now = False, journal.now()
            journal.owners.tidy(await journal.do(lambda state: state.forget(now)))
        before = journal.now() - again_after if lifetimes is not None else None
        found = await journal.do(lambda state: state.left(journal.owner, before), write=False)
        if lifetimes is not None:
            found += await self._expired(lifetimes, again_after)
        owners: dict[str, list[str]] = {}
        for left in found:
            owners.setdefault(left.owner, []).append(left.stream)
        held = await self._sealing.left() if self._sealing is not None else {}
        for owner in (*owners, *(one for one in held if one not in owners)):
            claim = journal.owners.claim(owner)
            if claim is None:
                continue
            done = False
            try:
                done = await self._drain_each(owners.get(owner, ()))
                drained += len(owners.get(owner, ()))
                if self._sealing is not None:
                    # What was held came behind what had its place in a stream.
                    await self._sealing.adopt(held.get(owner, ()))
            finally:
                claim.release(remove=done)
        return drained

    async def _drain_each(self, streams: Iterable[str]) -> bool:
        """Drain streams; tells whether nothing is left in them."""
        done = True
        for stream in streams:
            try:
                await self._drain(stream)
            except RemoteError as error:
                # Its one message, which a key names, cannot be sealed for its recipient now.
                self._log.info("a stream is left: {error}", error=error)
                done = False
        return done

    async def _expired(self, lifetimes: tuple[int, int], again_after: int) -> list[Left]:
        """List streams to be asked for messages that have expired; looking costs a little."""
        journal, now = self._journal, self._journal.now()
        if 0 <= now - self._looked < again_after:
            return []
        limit = AT_ONCE if again_after else -1
        found = await journal.do(
            lambda state: state.expired(journal.owner, now, *lifetimes, limit), write=False
        )
        if len(found) != limit:
            self._looked = now
        return found

    async def deliver(self, stream: str, watched: Entry) -> Sent | None:
        """Send the one message of a stream that a key names, and wait for what becomes of it.

        Args:
            stream: the stream's name; the message is in the journal.
            watched: says how long to wait, and for which seq.

        Returns:
            What became of it; None if another process is sending it at this moment.

        Raises:
            ConnectError: if the relay cannot be reached; the message stays in the journal.
        """
        left = await self._look(stream)
        claim: Claim | None = None
        if left is not None and left.owner != self._journal.owner:
            claim = self._journal.owners.claim(left.owner)
            if claim is None:
                return None
        done = watched.done
        try:
            return await self._drain(stream, watched)
        finally:
            if done is not None:
                done.addErrback(lambda _: None)  # whoever waited has heard of it
            if claim is not None:
                claim.release(remove=True)

    async def _look(self, stream: str) -> Left | None:
        now = self._journal.now()
        return await self._journal.do(lambda state: state.one_left(stream, now))

    async def _drain(self, stream: str, watched: Entry | None = None) -> Sent | None:
        while True:
            left = await self._look(stream)
            if left is None:
                return None
            if self._stopped:
                raise ConnectError("the client was closed")
            pen = self._sealing.pen() if self._sealing is not None else Pen()
            outbox = Resumed(left, self._journal, watched, pen)
            pen.recall(await self._journal.do(_refused(stream), write=False))
            session = Session(self._clock, outbox=outbox)
            link = self._connect(session)
            self._links.append(link)
            link.start()
            link.connected(self._attempts).addErrback(_give_up, outbox)
            try:
                return await self._carry(left, outbox, session, watched)
            except Spent as spent:
                if watched is not None:
                    raise TimedOut("the relay has forgotten this message's receipt") from None
                stream = await self._go_on(stream, spent.after)
            finally:
                pen.detach()
                self._links.remove(link)
                await link.stop()
                await self._journal.flush()

    async def _go_on(self, stream: str, after: int) -> str:
        """Put what is left of a spent stream into a new one; returns its name."""
        new = base64.urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=").decode()
        now = self._journal.now()
        await self._journal.flush()
        await self._journal.do(lambda state: state.move(stream, new, after, now))
        return new

    async def _carry(
        self, left: Left, outbox: Resumed, session: Session, watched: Entry | None
    ) -> Sent | None:
        """Send everything of a stream that the relay has not consumed, and take all verdicts."""
        done = watched.done if watched is not None else None
        loaded = await outbox.standing
        while loaded < left.last:
            after = loaded
            page = await self._journal.do(
                lambda state: state.load(left.stream, after, PAGE),  # noqa: B023 - done at once
                write=False,
            )
            if not page:
                break
            for message in page:
                outbox.restore(message)
            loaded = page[-1].seq
            session.wake()
            await (outbox.space() or _now())
        await (outbox.empty() or _now())
        if done is not None:
            return await done
        # Receipts that were not heard are asked for another time.
        with contextlib.suppress(ConnectError):
            await session.heard()
        return None


def _refused(stream: str) -> Callable[[State], dict[str, list[int]]]:
    return lambda state: state.refused(stream)


def _give_up(failure: Failure, outbox: Resumed) -> None:
    error = failure.value
    outbox.fail(error if isinstance(error, Exception) else ConnectError(str(error)))


def _now() -> Deferred[None]:
    waiting: Deferred[None] = Deferred()
    waiting.callback(None)
    return waiting
