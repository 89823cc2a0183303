"""Seals what leaves: at once for those whose keys are at hand, later for all others.

A message gets its place in a stream only when its recipient can be sealed for; before, it is held
(:mod:`.held`), in nobody's way.  What has a place and cannot be sealed any more is taken back.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from securerelay.client.entry import Entry, Fate
from securerelay.client.journal import Journal
from securerelay.client.outbox import Outbox
from securerelay.client.sealing import ended
from securerelay.client.sealing.contacts import NO_KEYS, Recipient
from securerelay.client.sealing.heads import Heads
from securerelay.client.sealing.held import Held, Spot
from securerelay.client.sealing.notices import Notices
from securerelay.client.sealing.own import OwnKeys
from securerelay.client.sealing.pen import SealingPen
from securerelay.client.sealing.roomlists import UNLISTED
from securerelay.client.sealing.vault import Vault
from securerelay.errors import ConnectError, Refused, RemoteError, SecureRelayError, TimedOut
from securerelay.sealing.plaintext import Content
from securerelay.sealing.verdicts import Rejected

RETRY = 60.0
"""Seconds after which the keys of those with held messages are asked for again."""
NEWCOMER = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Seconds after which keys are asked for again that somebody who has just joined may publish."""
FINAL = frozenset({"unknown", "not-permitted", UNLISTED}) | ended.CODES
"""Codes of recipients for whom nothing waits: no such one, or a room that is not for us."""
STAYS = "the message stays in the outbox"


class Recipients(typing.Protocol):
    """Those who can be sealed for: peers, or rooms."""

    def find(self, to: str) -> Recipient | None:
        """Return somebody who can be sealed for at this moment, as far as is known in memory.

        The same object comes back for as long as it may be sealed with.
        """

    def want(self, to: str) -> Deferred[typing.Any]:
        """Have :meth:`find` find somebody.

        Raises:
            Rejected: through the Deferred: it may not be sealed for.
            Refused: through the Deferred: ``unknown`` if there is no such recipient.
            ConnectError: through the Deferred: the relay could not be asked.
        """

    def doubt(self, to: str, code: str) -> None:
        """The relay refused a message for now: :meth:`find` may have to look again."""


class Sealer:
    """The way out.

    Args:
        own: who seals.
        contacts: for whom.
        vault: wraps what is journaled.
        journal: where.
        notices: tells the user.
        clock: the reactor.
        refused: called with a message that nobody waits for and the code, when it is given up.

    Attributes:
        rooms: rooms that are sealed for; None while rooms carry what is not sealed.
        sight: returns size and root of the largest key log seen.
        outbox: of this program.
        pens: of all outboxes that are being written.
    """

    _log = Logger()
    outbox: Outbox

    def __init__(
        self,
        own: OwnKeys,
        contacts: Recipients,
        vault: Vault,
        journal: Journal,
        notices: Notices,
        clock: IReactorTime,
        refused: Callable[[Entry, str], None],
    ) -> None:
        self._own = own
        self._contacts = contacts
        self._journal = journal
        self._notices = notices
        self._clock = clock
        self._refused = refused
        self._looking: set[str] = set()
        self._leaving: dict[str, list[Entry]] = {}
        self._verdicts: dict[str, RemoteError] = {}
        self._live: list[Entry] = []
        self._settled: list[Deferred[None]] = []
        self._timer: IDelayedCall | None = None
        self.vault = vault
        self.held = Held(vault, journal)
        self.heads = Heads(own.identity.fp, vault, journal, self.wake)
        self.rooms: Recipients | None = None
        self.sight: Callable[[], tuple[int, bytes] | None] = lambda: None
        self.pens: list[SealingPen] = []

    def wake(self) -> None:
        """Have written what may be written now."""
        for pen in self.pens:
            pen.outbox.wake()

    def seals(self, to: str) -> bool:
        """Tell whether messages to somebody are sealed unless one says otherwise."""
        return not to.startswith("@") or self.rooms is not None

    def _recipients(self, to: str) -> Recipients:
        if to.startswith("@") and self.rooms is not None:
            return self.rooms
        return self._contacts

    def doubt(self, to: str, code: str) -> None:
        """The relay refused a message for now."""
        self._recipients(to).doubt(to, code)

    # -- the application's side

    def post(self, entry: Entry) -> None:
        """Send a message as soon as its recipient can be sealed for."""
        to, letter = entry.to.decode(), entry.letter
        if letter is None:
            self.outbox.add(entry)
            return
        behind = to in self.held or to in self._leaving
        recipient = None if behind else self._recipients(to).find(to)
        if recipient is not None:
            letter.bound = recipient.bound
            self.outbox.add(entry)
        elif entry.ttl == 0:
            self._post_live(to, entry)
        elif to in self._leaving:
            self._leaving[to].append(entry)
        else:
            self.held.hold(entry)
            self._look(to)

    def _post_live(self, to: str, entry: Entry) -> None:
        """Send a message that is delivered at once or never: it waits for keys, and not on disk."""
        self._live.append(entry)

        def ready(recipient: Recipient) -> None:
            if entry in self._live:
                self._live.remove(entry)
                assert entry.letter is not None, "it is to be sealed"
                entry.letter.bound = recipient.bound
                self.outbox.add(entry)
                self.wake()

        def failed(failure: Failure) -> None:
            if entry in self._live:
                self._live.remove(entry)
                self._give_up(entry, _refusal(failure.value, to))

        waiting = self._recipients(to).want(to).addCallbacks(ready, failed)
        waiting.addBoth(lambda _: self._check_settled())

    def withdraw(self, entry: Entry) -> Fate:
        """Stop waiting for a message; see :meth:`Outbox.withdraw`."""
        if entry in self._live:
            self._live.remove(entry)
            return "unsent"
        if any(entry in leaving for leaving in self._leaving.values()):
            entry.done = None
            return "queued"
        return "queued" if self.held.withdraw(entry) else self.outbox.withdraw(entry)

    def settled(self) -> Deferred[None]:
        """Say when every message has left for the outbox, or it is known why it cannot.

        Raises:
            Refused: through the Deferred, if messages are held; it says why.
        """
        waiting: Deferred[None] = Deferred()
        self._settled.append(waiting)
        self._check_settled()
        return waiting

    def _check_settled(self) -> None:
        if not self._settled or self._live or self._leaving:
            return
        held = self.held.recipients
        if any(to not in self._verdicts for to in held):
            return
        waiting, self._settled = self._settled, []
        for one in waiting:
            if held:
                one.errback(_refusal(self._verdicts[held[0]], held[0], STAYS))
            else:
                one.callback(None)

    def adopt(self, spots: Sequence[tuple[str, Spot]]) -> None:
        """Take over held messages of a program that is gone."""
        self.held.adopt(spots)
        for to in {to for to, _ in spots}:
            self._verdicts.pop(to, None)
            self._look(to)

    def connected(self) -> None:
        """A connection began: look again for those with held messages."""
        self._look_again()

    def fail(self, error: Exception) -> None:
        """There will be no connection any more; what is held stays on disk."""
        self._stop()
        waiting, self._settled = self._settled, []
        for one in waiting:
            one.errback(error)
        leaving = [entry for entries in self._leaving.values() for entry in entries]
        for entry in (*self._live, *leaving, *self.held.all_waiting()):
            done, entry.done = entry.done, None
            if done is not None:
                done.errback(error)
        self._live.clear()

    def _stop(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _look_again(self) -> None:
        self._stop()
        for to in self.held.recipients:
            self._look(to)
        self._timer = self._clock.callLater(RETRY, self._look_again)

    # -- a pen's side

    def body(self, pen: SealingPen, entry: Entry) -> bytes | None:
        """Return what the relay will carry of a message; None if it has to wait for keys."""
        letter, to = entry.letter, entry.to.decode()
        if letter is None:
            return entry.body
        recipient = None if to in self._leaving else self._recipients(to).find(to)
        if recipient is None:
            self._look(to)
            return None
        if not letter.bound:
            letter.bound = recipient.bound
            pen.outbox.bind(entry)
            return None
        if letter.bound != recipient.bound:
            self._start(to, self._leave_and_return(to))
            return None
        if letter.index == 1 and letter.heads is None:
            self.heads.want(pen.stream, entry)
            return None
        if letter.sealed_by is not recipient:
            letter.sealed = recipient.seal(self._content(pen, entry))
            letter.sealed_by = recipient
        return letter.sealed

    def _content(self, pen: SealingPen, entry: Entry) -> Content:
        letter = entry.letter
        assert letter is not None, "it is to be sealed"
        return Content(
            *(pen.stream, entry.seq, entry.to.decode(), letter.index, letter.time),
            bundle=self._own.number,
            content_type=letter.content_type,
            body=entry.body,
            skipped=pen.skipped(entry.to),
            heads=letter.heads or (),
            replaces=letter.replaces,
            log_head=self.sight(),
            receipt=entry.receipt and letter.index > 0 and not entry.to.startswith(b"@"),
        )

    # -- keys to come

    def _look(self, to: str) -> None:
        self._start(to, self._bring(to))

    def _start(self, to: str, work: typing.Coroutine[typing.Any, typing.Any, None]) -> None:
        """Have one thing at a time done about a recipient."""
        if to in self._looking:
            work.close()
            return
        self._looking.add(to)

        def done(result: object) -> object:
            self._looking.discard(to)
            self._check_settled()
            self.wake()
            return result

        Deferred.fromCoroutine(work).addBoth(done).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        self._log.info("a message waits for keys: {error}", error=failure.value)

    async def _bring(self, to: str) -> None:
        """Get a recipient's keys, and let what is held for it go."""
        for pause in (*NEWCOMER, None):
            try:
                await self._recipients(to).want(to)
            except (ConnectError, TimedOut):
                return
            except RemoteError as error:
                if error.code != NO_KEYS or pause is None:
                    await self._not_ready(to, error)
                    return
                await deferLater(self._clock, pause)
            else:
                await self._release(to)
                return

    async def _release(self, to: str) -> None:
        self._verdicts.pop(to, None)
        while to in self.held:
            page = await self.held.page(to)
            recipient = self._recipients(to).find(to)
            if recipient is None:
                return
            for spot, row in page:
                entry = self.held.release(to, spot, row)
                if entry is not None and entry.letter is not None:
                    entry.letter.bound = recipient.bound
                    self.outbox.adopt(entry, *spot)
            self.wake()
            await (self.outbox.space() or succeed(None))

    async def _leave_and_return(self, to: str) -> None:
        """A recipient is somebody else now: messages go on in other places."""
        await self._leave(to, Refused("key-changed", f"{to}'s key changed"))
        await self._release(to)

    async def _not_ready(self, to: str, error: RemoteError) -> None:
        """A recipient cannot be sealed for: keep what is for it, and say why."""
        await self._leave(to, error)
        if error.code in FINAL:
            for entry in await self.held.refuse(to, error.code):
                self._give_up(entry, _refusal(error, to))
            return
        before, self._verdicts[to] = self._verdicts.get(to), error
        waiting = self.held.waiting(to)
        for entry in waiting:
            self._give_up(entry, _refusal(error, to, STAYS))
        if not waiting and to in self.held and (before is None or before.code != error.code):
            self._notices.say(error.code, to, f"{_words(error, to)}; {STAYS}")

    async def _leave(self, to: str, error: RemoteError) -> None:
        """Take back what was numbered and not written."""
        self._leaving[to] = []
        try:
            # Behind this, all that was numbered before is on disk.
            await self._journal.do(lambda state: None, write=False)
            for pen in list(self.pens):
                if pen.outbox.keyed:
                    pen.outbox.fail(_refusal(error, to, STAYS))
                    continue
                taken = pen.outbox.set_aside(to.encode())
                for entry, filler in taken:
                    if not entry.journaled:
                        filler.pending = False
                        self._give_up(entry, _refusal(error, to))
                stay = [pair for pair in taken if pair[0].journaled]
                if stay:
                    self.held.take_back(pen.outbox.stream, stay)
        finally:
            for entry in self._leaving.pop(to):
                self.held.hold(entry)

    def _give_up(self, entry: Entry, error: SecureRelayError) -> None:
        done, entry.done = entry.done, None
        if done is not None:
            done.errback(error)
        else:
            self._refused(entry, error.code if isinstance(error, RemoteError) else "failed")


def _words(error: RemoteError, to: str) -> str:
    if isinstance(error, Rejected):
        return error.verdict.words(peer=to, room=to)
    return error.detail


def _refusal(error: BaseException | None, to: str, more: str = "") -> SecureRelayError:
    """Return what is told to whoever sent: the verdict's words."""
    if isinstance(error, RemoteError):
        words = _words(error, to)
        return Refused(error.code, f"{words}; {more}" if more else words)
    return error if isinstance(error, SecureRelayError) else ConnectError(str(error))
