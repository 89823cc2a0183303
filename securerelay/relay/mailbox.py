"""A recipient's mailbox: what waits for it, and what its listener has been handed (SR1 section 5).

A message gets its number when it comes.  While a listener is *live*, that is, has everything
older, and its window has room, a new message is handed to it at once.  Otherwise the message waits
for its commit, and the listener catches up from the store, page by page, whenever its window has
room.  It is live again when a page reached the last committed message and it was handed what came
while the page was read.

What the text of the protocol leaves open is decided so:

* ``LISTEN first last``: ``last`` is the highest number given out, so every later message has a
  higher one; ``first`` is the lowest kept, ``last + 1`` if nothing is.  An ``after`` above
  ``last`` counts as ``last``.
* ``LISTEN`` forgets nothing: what was kept up to ``after`` stays until ``ACK``.
* ``ACK`` may come in any session of the peer; of a number that was never sent it is a breach of
  the protocol.
* Quotas count what is kept, or on its way to being kept; a message handed to a listener at once is
  let through.
* A message whose ttl ran out is not handed over any more; what was handed over counts as delivered
  only by ``ACK``.
"""

# More than 400 lines: the window, what waits and the store's pages move by the same few numbers.

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from securerelay import failpoints
from securerelay.errors import RemoteError
from securerelay.protocol import messages
from securerelay.relay.config import Limits
from securerelay.relay.entry import BOUND, GONE, QUEUED, STORED, TAKEN, Entry, Offered, Passed, Run
from securerelay.relay.journal import PATIENCE
from securerelay.relay.screen import Screen
from securerelay.relay.window import Window
from securerelay.store.rows import Acked, MailboxState, StoredMessage

if TYPE_CHECKING:
    from securerelay.relay.peer import Peer
    from securerelay.relay.session import Session
    from securerelay.relay.stream import Stream

PAGE = 256
"""Messages read from the store at a time."""

EPOCH_SHIFT = 37
"""A message's number is the store's epoch, then so many bits that count within this run.  That is
30,000 messages a second for 50 days, and leaves room for epochs until 2047 in 63 bits.
"""

KEPT: Entry = Entry.__new__(Entry)
"""Stands in windows for whatever came from the store."""
KEPT.state = STORED


class Share:
    """What one sender has in one mailbox; the way from a stream to a recipient."""

    __slots__ = ("count", "mailbox", "screen", "size")

    run = Run
    """What messages with ttl 0 are that go this way."""

    cost = 1
    """How many messages one counts for against its sender's rate."""

    def __init__(self, mailbox: Mailbox, count: int = 0, size: int = 0) -> None:
        self.mailbox = mailbox
        self.count = count
        self.size = size
        self.screen: Screen | None = None  # set whenever the way is looked up

    def add(self, count: int, size: int) -> None:
        """So many more messages, of so many bytes in all, are kept."""
        self.count += count
        self.size += size
        self.mailbox.count += count
        self.mailbox.size += size

    def subtract(self, count: int, size: int) -> None:
        """So many messages, of so many bytes in all, are not kept any more."""
        self.count -= count
        self.size -= size
        self.mailbox.count -= count
        self.mailbox.size -= size


class Mailbox:
    """One peer's mailbox, while anybody uses it.

    Args:
        peer: whose.
        state: what the store holds of it.
        base: the number above which this run of the relay counts.
        limits: the quotas, and the listener's window.
    """

    __slots__ = (
        "_acked",
        "_committed",
        "_cursor",
        "_fetching",
        "_newest",
        "_serial",
        "_shown",
        "_waiting",
        "_window",
        "count",
        "limits",
        "listener",
        "live",
        "peer",
        "shares",
        "size",
        "text",
    )

    def __init__(self, peer: Peer, state: MailboxState, base: int, limits: Limits) -> None:
        self.peer = peer
        self.text = peer.text
        self.limits = limits
        self.listener: Session | None = None
        self.live = False
        self.shares: dict[bytes, Share] = {}
        self.count = state.total.count
        self.size = state.total.size
        for name, usage in state.senders.items():
            self.shares[name.encode("ascii")] = Share(self, usage.count, usage.size)
        self._newest = max(base, state.last)
        self._committed = state.last
        self._cursor = self._shown = self._acked = 0
        self._window = Window()
        self._waiting: deque[tuple[int, Entry]] | None = None  # most often nothing does
        self._fetching: Deferred[Any] | None = None
        self._serial = 0

    @property
    def patience(self) -> float:
        """Seconds within which the listener, who has everything, may acknowledge it."""
        return PATIENCE if self.live else 0.0

    def share_of(self, sender: bytes) -> Share:
        """Return what a sender has here."""
        share = self.shares.get(sender)
        if share is None:
            share = self.shares[sender] = Share(self)
        return share

    @property
    def idle(self) -> bool:
        """Whether nothing here would be missed that the store does not hold."""
        return (
            self.listener is None
            and not self._waiting
            and self._fetching is None
            and not self.peer.router.journal.forgets(self)
        )

    @property
    def newest(self) -> int:
        """The highest number given out here."""
        return self._newest

    # --- messages in ---

    def offer(self, entry: Entry, share: Share) -> Offered:
        """Take messages that are to be kept, in order, up to the first that is refused.

        Args:
            entry: the messages; those that are taken get their numbers.
            share: their sender's.

        Returns:
            What was taken, and why the next one was not.
        """
        taken: list[Entry] = []
        if self.live:
            if self._window.fits(entry):
                self._hand(entry, self._newest + len(entry.bodies))
                return (entry,), None
            count = self._window.fitting(entry.bodies)
            if count:
                taken.append(head := entry.part(count))
                self._hand(head, self._newest + count)
                entry.first = entry.seq
        count = self._kept(entry, share)
        if count:
            whole = count == len(entry.bodies)
            taken.append(rest := entry if whole else entry.part(count))
            rest.n = self._newest = self._newest + count
            # They wait for their commit, and the listener for the store.
            self.live = False
            if self._waiting is None:
                self._waiting = deque()
            self._waiting.append((rest.n, rest))
            rest.counted = True
            share.add(count, rest.size)
            if whole:
                return taken, None
        return taken, b"mailbox-full"

    def _kept(self, entry: Entry, share: Share) -> int:
        """Tell how many messages the quotas let a sender leave, of those that came together."""
        count = len(entry.bodies)
        if self.has_room(share, count, entry.size):
            return count
        kept = size = 0
        for body in entry.bodies:
            size += len(body)
            if not self.has_room(share, kept + 1, size):
                break
            kept += 1
        return kept

    def pass_on(self, run: Run) -> Passed:
        """Hand messages with ttl 0 over, and refuse what the listener has no room for."""
        if not self.live:
            return 0, b"offline" if self.listener is None else b"mailbox-full"
        first = self._newest + 1
        taken = self._window.pass_on(first, run)
        if taken is None:
            return 0, b"mailbox-full"
        count = len(taken.bodies)
        self._say(first + count - 1, taken.said(first))
        return count, None if taken is run else b"mailbox-full"

    def _hand(self, entry: Entry, n: int) -> None:
        """Hand over messages that the window has room for, the last of which gets this number."""
        count = len(entry.bodies)
        entry.n = n
        self._window.note(n, entry, count, entry.size)
        self._say(n, entry.said(n - count + 1))

    def _say(self, n: int, said: list[bytes]) -> None:
        """Tell the listener messages that the window took, up to this number."""
        self._cursor = n
        if n > self._newest:
            self._newest = n
        if n > self._shown:
            self._shown = n
        session = self.listener
        assert session is not None
        session.push(said)

    def has_room(self, share: Share, count: int, size: int) -> bool:
        """Tell whether the quotas let a sender leave so many more messages."""
        limits = self.limits
        percent = limits.mailbox_sender_percent
        return (
            self.count + count <= limits.mailbox_messages
            and self.size + size <= limits.mailbox_bytes
            and (share.count + count - 1) * 100 < limits.mailbox_messages * percent
            and (share.size + size) * 100 <= limits.mailbox_bytes * percent
        )

    def committed(self, n: int) -> None:
        """The store has the message with this number, and every earlier one."""
        self._committed = n
        self.go_on()

    def go_on(self) -> None:
        """What the listener waits for may have been committed, or withdrawn: see what comes now."""
        if self._fetching is None and self._waiting:
            self._forget_stored()
            self._catch_up()

    def _forget_stored(self) -> None:
        """Drop from what waits whatever a page that is read from now on will show."""
        waiting = self._waiting
        while waiting and waiting[0][1].state >= STORED:
            waiting.popleft()

    # --- the listener ---

    async def listen(self, session: Session, after: int) -> None:
        """Serve a session from now on, and no other.

        Args:
            session: of this peer.
            after: the number after which it wants to receive.
        """
        if self.listener is session and self._fetching is not None:
            # Who begins again faster than pages are read would otherwise never get one.
            await self._fetching
            if self.listener is not session:
                return
        if self.listener is not None and self.listener is not session:
            self.listener.stopped(b"replaced")
        self._take_back()
        self.listener = session
        serial = self._serial
        last = self._newest
        first = last + 1
        if self._waiting:
            n, entry = self._waiting[0]
            first = n - len(entry.bodies) + 1
        if self.count:
            oldest = await self.peer.router.store.fetch(self.text, 0, 1, 1)
            first = oldest[0].n if oldest else first
        if self._serial != serial:
            return
        self._cursor = max(min(after, last), self._acked)
        self._shown = max(self._shown, self._cursor)
        self._window.open(self.limits.window_messages, self.limits.window_bytes)
        session.write(messages.listening(first, last))
        if self.count or self._waiting:
            self._catch_up()
        else:
            self.live = True

    def left(self, session: Session) -> None:
        """A session of this peer is gone."""
        if self.listener is session:
            self._take_back()
            self.listener = None

    def _take_back(self) -> None:
        """Forget what was handed over: what is not stored yet waits again."""
        back = self._window.close()
        if back:
            self._waiting = deque([*back, *(self._waiting or ())])
        self.live = False
        self._serial += 1

    def _catch_up(self) -> None:
        window = self._window
        if self._fetching is not None or window.full or self.listener is None:
            return
        self._fetching = fetched = self.peer.router.store.fetch(
            self.text, self._cursor, min(window.slots, PAGE), window.room
        )
        fetched.addCallback(self._page, self._serial, self._committed)
        fetched.addErrback(self._no_page)

    def _page(self, rows: list[StoredMessage], serial: int, committed: int) -> None:
        self._fetching = None
        if serial == self._serial:
            self._hand_page(rows)
            if not rows or rows[-1].n >= committed:
                self._hand_waiting()
                return
        self._forget_stored()
        self._catch_up()

    def _no_page(self, failure: Failure) -> None:
        """The store cannot be read: the session ends, the mail stays."""
        self._fetching = None
        if self.listener is not None:
            self.listener.broke(failure)

    def _hand_page(self, rows: list[StoredMessage]) -> None:
        session = self.listener
        assert session is not None
        now = self.peer.router.now()
        for n, sender, to, stream, seq, time, expiry, _, body in rows:
            if n <= self._cursor:
                continue  # acknowledged while the page was read
            self._cursor = n
            self._shown = max(self._shown, n)
            if expiry <= now:
                continue
            header = messages.msg_header(
                n,
                sender.encode("ascii"),
                to.encode("ascii"),
                stream.encode("ascii"),
                seq,
                time,
                len(body),
            )
            self._window.note(n, KEPT, 1, len(body))
            session.push((header, body))

    def _hand_waiting(self) -> None:
        """Every committed message was handed over: what waits comes next."""
        waiting = self._waiting
        while waiting:
            n, entry = waiting[0]
            count = len(entry.bodies)
            if n <= self._cursor:
                if entry.state <= TAKEN:
                    # The listener says that it has these; so it will acknowledge them.
                    self._window.note(n, entry, count, entry.size)
            elif entry.state != GONE:
                if n - count < self._cursor or not self._window.fits(entry):
                    # Some of them only, then: the store will tell them apart.
                    if entry.state == STORED:
                        self._forget_stored()
                        self._catch_up()
                    return
                self._hand(entry, n)
            waiting.popleft()
        self._waiting = None
        self.live = True

    # --- acknowledgements ---

    def ack(self, upto: int) -> bool:
        """Forget every message up to a number; returns whether that was any news.

        Raises:
            RemoteError: ``protocol`` if nothing with this number was ever sent.
        """
        if upto > self._shown:
            raise RemoteError("protocol", f"ACK {upto}, but {self._shown} was the last sent")
        if upto <= self._acked:
            return False
        failpoints.reach("after-delivery-before-ack")
        self._acked = upto
        self._cursor = max(self._cursor, upto)
        stored = self.count > 0
        window = self._window
        free = window.slots
        acked, waiting = window.forget(upto, self.peer), self._waiting
        self.peer.router.delivered += window.slots - free
        while waiting and waiting[0][0] <= upto:
            # It was taken back from a window, when its recipient had it already.
            acked.append(waiting.popleft()[1])
        if waiting:
            n, entry = waiting[0]
            done = upto - (n - len(entry.bodies))
            if done > 0:
                acked.append(entry.part(done))
        moved: set[Stream] = set()
        for entry in acked:
            state = entry.state
            if state == QUEUED:
                # Its recipient was faster than the disk: it never needs to be written.
                entry.state = GONE
                if entry.counted and entry.share is not None:
                    entry.share.subtract(len(entry.bodies), entry.size)
                entry.settled = True
                moved.add(entry.stream)
            elif state == TAKEN:
                stored = True
                if entry.share is not None:
                    entry.settled = True
                    moved.add(entry.stream)
                continue
            elif state == BOUND:
                entry.early(self)
            else:
                stored = True
                continue
            entry.got(self.peer, 0, len(entry.bodies))
        for stream in moved:
            stream.advance()
        if stored:
            self.peer.router.journal.ack(self, upto)
        if not self.live and self.listener is not None:
            self._catch_up()
        return True

    def freed(self, acked: Acked) -> None:
        """The store forgot acknowledged messages: make room, and tell those who wanted to know."""
        for sender, usage in acked.freed.items():
            self.share_of(sender.encode("ascii")).subtract(usage.count, usage.size)
        self.peer.router.tell(acked.receipts)
