"""A sender's stream: the order of its messages, and what its sender is told (SR1 section 5).

The seqs of a stream fall into three stretches::

    1 ... settled | settled+1 ... entered | entered+1 ...
    have verdicts |       in flight       | not seen yet

A message enters when it comes in turn and its place is known: handed to a listener, on its way to
the store, or refused for good.  It is settled when that holds whatever happens: its recipient has
acknowledged it, or the store has it.  ``OK`` is cumulative without exception, so it follows what
is settled, one line for a whole turn of the reactor.

What the text of the protocol leaves open is decided so:

* A stream belongs to the session that opened it last.  The session that had it before may not send
  on it any more: its next SEND is a breach of the protocol.  A session that opens a second stream
  breaches it too.
* A final refusal is told once the store remembers it, so that it is the same after a crash.
* A seq that was seen before gets its verdict again, or none yet if it is in flight.
* A stream that the relay has forgotten is answered with ``last`` 0.  Every SEND on it gets
  ``new-stream``, and so does every SEND on a stream from its 4,097th refusal on.
* When the store fails, everything in flight is refused for now: the first with the reason, the
  rest with ``gap``.
* A message whose ttl is above the longest permitted is kept for the longest permitted, which
  WELCOME announces.
* Whoever addresses a name outside his policy hears ``not-permitted``, whether it exists or not; a
  revoked peer is ``unknown``.
* A message with ttl 0 whose recipient listens but has no room for it is refused with
  ``mailbox-full``.
* What ended by its ttl is told to its sender by an EVENT ``expired``, and what a member of a room
  misses by an EVENT ``missed``; both are kept as receipts are.
"""

# More than 400 lines: what comes in and what is told about it go by the same few counters.

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from securerelay.errors import RemoteError
from securerelay.protocol import messages
from securerelay.protocol.link import encode_json
from securerelay.relay.entry import Advance, Entry, Passed, Placeholder, Refusal, Route
from securerelay.relay.screen import pass_through
from securerelay.store.rows import Receipt, StreamRow

if TYPE_CHECKING:
    from securerelay.relay.mailbox import Mailbox
    from securerelay.relay.peer import Peer
    from securerelay.relay.session import Session

_NOTHING_YET = 1 << 63
"""How far a session was told of verdicts when its stream is not open yet: no OK is beyond."""

A_TURN = 512
KEPT = 4
"""What messages to rooms may cost in a turn, each as much as against its sender's rate, and those
that are kept so many times that; the rest waits for the next turn.
"""

_Said = tuple[int, bytes, "int | None", bool, list[bytes]]
"""Messages as they came: arguments of :meth:`Stream.send`."""


class Stream:
    """One stream of one peer, from its first opening in this run of the relay until it rests.

    Args:
        peer: whose.
        stream: its id, 22 bytes.
    """

    __slots__ = (
        "_handed",
        "_kept",
        "_loaded",
        "_pausing",
        "_refusing",
        "_spent",
        "_waiting",
        "entered",
        "flight",
        "id",
        "known",
        "ok",
        "peer",
        "refusals",
        "routes",
        "session",
        "text",
        "told",
    )

    def __init__(self, peer: Peer, stream: bytes) -> None:
        self.peer = peer
        self.id = stream
        self.text = stream.decode("ascii")
        self.session: Session | None = None
        self.known = True
        self.entered = self.ok = self.told = 0
        self.flight: deque[Entry] = deque()
        self.refusals: dict[int, bytes] = {}
        self.routes: dict[bytes, tuple[Route, bytes]] = {}
        self._handed = self._kept = 0
        self._loaded = self._refusing = self._pausing = False
        self._spent = 0
        self._waiting: deque[_Said] | None = deque()

    # --- opening and closing ---

    def opening(self, session: Session, answered: int) -> None:
        """A session takes the stream over; what it sends waits until :meth:`opened`.

        Raises:
            RemoteError: ``protocol`` if it claims verdicts for what has none.  The store would then
                not take what is on its way there, and its mailbox would count it for ever.
        """
        settled = self.flight[0].first - 1 if self.flight else self.entered
        if self._loaded and answered > settled:
            raise RemoteError("protocol", f"verdicts up to {answered}, but {settled} have one")
        if self.session is not None:
            self.session.displaced()
        self.session = session
        # The store will count what has a verdict as consumed, whether it ever saw it or not.
        self._handed = max(self._handed, answered)
        self._kept = max(self._kept, answered)
        # No verdict before those that were missed, or an OK would speak for what was refused.
        self.told = _NOTHING_YET
        self._waiting = deque()
        self._pausing = False

    def opened(self, row: StreamRow, answered: int) -> None:
        """The store knows it: tell how far it came, and every verdict that may have been missed."""
        session = self.session
        assert session is not None
        if not self._loaded:
            self._loaded = True
            self.known = row.known
            self.entered = self.ok = self._handed = self._kept = row.last
            self.refusals = {seq: code.encode("ascii") for seq, code in row.refusals}
        for seq in [seq for seq in self.refusals if seq <= answered]:
            del self.refusals[seq]
        session.write(messages.stream(self.id, self.entered))
        for seq, code in sorted(self.refusals.items()):
            session.write(messages.no(seq, code))
        self.told = answered
        if self.ok > answered:
            self.peer.router.mark(session)
        self.tell(row.receipts)
        session.hold_stream(self._refusing)
        self.go_on()

    def left(self) -> None:
        """The session that had it open is gone."""
        self.session = None
        self._waiting = None
        self.routes.clear()
        if not self.flight:
            self._rest()

    def _rest(self) -> None:
        """Nothing is in flight and no session has it: leave no more behind than the store holds."""
        router = self.peer.router
        if self._handed < self.entered and self.known:
            router.journal.add((Advance(self, self.entered, router.now()),))
        else:
            self.forget()

    def forget(self) -> None:
        """Nobody needs it in memory any more; should it be opened again, the store knows it."""
        if self.session is None and self.peer.streams.get(self.id) is self:
            del self.peer.streams[self.id]
            self.peer.router.forget(self.peer)

    # --- messages in ---

    def send(
        self, seq: int, to: bytes, ttl: int | None, receipt: bool, bodies: list[bytes]
    ) -> None:
        """Take messages; arguments as for :data:`securerelay.protocol.messages.Runs`."""
        if self._waiting is not None:
            self._waiting.append((seq, to, ttl, receipt, bodies))
            return
        if seq != self.entered + 1 or not self.known:
            self._out_of_turn(seq, to, ttl, receipt, bodies)
            return
        route = self.routes.get(to)
        if route is None:
            self._look_up((seq, to, ttl, receipt, bodies))
            return
        share, _ = route
        if share.cost > 1:
            now = self._fitting(len(bodies), share.cost if ttl == 0 else share.cost * KEPT)
            if now < len(bodies):
                if now:
                    self._give(route, seq, to, ttl, receipt, bodies[:now])
                self._pause((seq + now, to, ttl, receipt, bodies[now:]))
                return
        self._give(route, seq, to, ttl, receipt, bodies)

    def _fitting(self, count: int, cost: int) -> int:
        """Tell how many messages to a room may be taken in this turn, and charge them to it."""
        if not self._spent:
            self.peer.router.later(self._turned)
        left = (A_TURN - self._spent) // cost
        fitting = min(count, left if self._spent else max(1, left))
        self._spent += fitting * cost
        return fitting

    def _pause(self, said: _Said) -> None:
        """Have messages wait for the next turn, behind those that wait already."""
        if self.session is None:
            return
        if self._waiting is None:
            self._waiting = deque()
            self.session.hold_stream(True)
        self._waiting.append(said)
        self._pausing = True

    def _turned(self) -> None:
        """Go on: others have had their turn."""
        self._spent = 0
        if self._pausing:
            self._pausing = False
            self.go_on()

    def _give(
        self,
        route: tuple[Route, bytes],
        seq: int,
        to: bytes,
        ttl: int | None,
        receipt: bool,
        bodies: list[bytes],
    ) -> None:
        """Take messages, as far as the sender's rate and the way's screen let them."""
        share, _ = route
        peer = self.peer
        count = len(bodies)
        size = len(bodies[0]) if count == 1 else sum(map(len, bodies))
        if not peer.allowance.take(size, count * share.cost, count > 1):
            self._too_fast((seq, to, ttl, receipt, bodies))
            return
        if share.screen is None:
            taken, code = self._take(route, seq, to, ttl, receipt, bodies, size)
        else:
            passing, screened = pass_through(share.screen, bodies)
            taken, code = 0, screened
            if passing:
                size = sum(map(len, passing))
                taken, code = self._take(route, seq, to, ttl, receipt, passing, size)
                code = code or screened
        if code is not None:
            rest = bodies[taken + 1 :]
            peer.allowance.give_back(sum(map(len, rest)), len(rest) * share.cost)
            self._stop(code, (seq + taken, to, ttl, receipt, rest))

    def _take(
        self,
        route: tuple[Route, bytes],
        seq: int,
        to: bytes,
        ttl: int | None,
        receipt: bool,
        bodies: list[bytes],
        size: int,
    ) -> Passed:
        """Give messages, of so many bytes in all, to whom they are for."""
        share, place = route
        router = self.peer.router
        time = int(router.wall() * 1000)
        if ttl == 0:
            run = share.run(self, seq, place, time, receipt, bodies, size)
            taken, code = share.mailbox.pass_on(run)
            self.entered += taken
            if self.flight and taken:
                self.flight.append(Placeholder(self, seq, self.entered))
            elif taken:
                router.accepted += taken
                self.ok = self.entered
                session = self.session
                if session is not None and not session.marked:
                    router.mark(session)
            return taken, code
        expiry = time + (router.ttl if ttl is None else min(ttl * 1000, router.longest_ttl))
        mailbox = share.mailbox
        entry = Entry(self, seq, to, place, share, time, expiry, receipt, bodies, size)
        entries, code = mailbox.offer(entry, share)
        if entries:
            last = entries[-1].last
            taken = last - self.entered
            self.entered = last
            self.flight += entries
            router.journal.add(entries, mailbox.patience)
            return taken, code
        return 0, code

    def _stop(self, code: bytes, said: _Said) -> None:
        """Refuse a message, and have those that came with it and follow it wait or come again.

        Args:
            code: why.
            said: the message's seq, and the bodies of those that follow.
        """
        seq, to, ttl, receipt, bodies = said
        if code == b"room-changed":
            self._not_now(seq, code)
            self._out_of_turn(seq + 1, to, ttl, receipt, bodies)
        else:
            if code == b"unsealed":
                self.peer.router.unsealed(self.peer, to)
            self.refuse(seq, code)
            self._wait_first((seq + 1, to, ttl, receipt, bodies))

    def _wait_first(self, said: _Said) -> None:
        """Have messages wait before all others that wait, if they are any."""
        if said[4]:
            assert self._waiting is not None, "something holds the stream up"
            self._waiting.appendleft(said)

    def _out_of_turn(
        self, seq: int, to: bytes, ttl: int | None, receipt: bool, bodies: list[bytes]
    ) -> None:
        """Answer what was seen before, or is not to be taken yet; go on with what is in turn."""
        for number, body in enumerate(bodies, seq):
            if number == self.entered + 1 and self.known:
                self.send(number, to, ttl, receipt, bodies[number - seq :])
                return
            self._again(number, len(body))

    def _again(self, seq: int, size: int) -> None:
        if not self.peer.allowance.take(size) and self.session is not None:
            self.session.slow_down()
        if not self.known:
            self._not_now(seq, b"new-stream")
        elif seq > self.entered:
            self._not_now(seq, b"gap")
        elif seq in self.refusals:
            self._not_now(seq, self.refusals[seq])
        elif seq <= self.ok and self.session is not None:
            self.told = min(self.told, seq - 1)
            self.peer.router.mark(self.session)

    def _too_fast(self, said: _Said) -> None:
        """Refuse for now what comes too fast, of many messages those that are too many."""
        seq, to, ttl, receipt, bodies = said
        if len(bodies) > 1:
            for number, body in enumerate(bodies, seq):
                self.send(number, to, ttl, receipt, [body])
            return
        self._not_now(seq, b"rate")
        if self.session is not None:
            self.session.slow_down()

    def _not_now(self, seq: int, code: bytes) -> None:
        if self.session is not None and self.told != _NOTHING_YET:
            self.session.write(messages.no(seq, code))

    def refuse(self, seq: int, code: bytes) -> None:
        """Refuse a message for good; the seq is consumed.

        What comes behind waits until the store remembers that.  If a crash could still undo the
        refusal, the message would be taken when it is sent again, and overtaken by then.
        """
        self.entered = seq
        self.peer.router.refused[code.decode("ascii")] += 1
        refusal = Refusal(self, seq, code, self.peer.router.now())
        self.flight.append(refusal)
        self._refusing = True
        if self._waiting is None:
            self._waiting = deque()
        if self.session is not None:
            self.session.hold_stream(True)
        self.peer.router.journal.add((refusal,))

    # --- names ---

    def _look_up(self, said: _Said) -> None:
        """Find out who is meant; what comes meanwhile waits, for order is kept."""
        self._waiting = deque((said,))
        session = self.session
        assert session is not None, "a stream without a session takes nothing"
        looking = Deferred.fromCoroutine(self.peer.router.route(self.peer, said[1]))
        looking.addCallback(self._found, said[1], session)
        looking.addErrback(session.broke)
        if not looking.called:
            session.hold_stream(True)

    def _found(self, found: Route | bytes, to: bytes, session: Session | None) -> None:
        if self.session is not session or not self._waiting:
            return
        if not isinstance(found, bytes):
            self.routes[to] = found, messages.msg_place(self.peer.name, to, self.id)
        else:
            seq, _, ttl, receipt, bodies = self._waiting.popleft()
            if self.peer.allowance.take(len(bodies[0])):
                self.refuse(seq, found)
            else:
                self._too_fast((seq, to, ttl, receipt, bodies[:1]))
            self._wait_first((seq + 1, to, ttl, receipt, bodies[1:]))
        self.go_on()

    def go_on(self) -> None:
        """Take what waited, in order, unless a refusal is still on its way to the store."""
        if self._refusing or self.told == _NOTHING_YET:
            return
        waiting, self._waiting = self._waiting, None
        while waiting:
            self.send(*waiting.popleft())
            if self._wait_behind(waiting):
                return
        if self.session is not None:
            self.session.hold_stream(False)

    def _wait_behind(self, waiting: deque[_Said]) -> bool:
        """Queue behind a name that is being looked up, if one is."""
        if self._waiting is None:
            return False
        self._waiting += waiting
        return True

    # --- verdicts out ---

    def hand_over(self, seq: int) -> int:
        """Note that a seq goes to the store now; returns the one that went before it."""
        before, self._handed = self._handed, seq
        return before

    def kept(self, seq: int) -> None:
        """The store consumed everything up to this seq."""
        self._kept = seq

    def settle(self, entry: Entry) -> None:
        """A message needs nothing more; tell so as far as that holds for all before it."""
        entry.settled = True
        self.advance()

    def advance(self) -> None:
        """Tell how far everything needs nothing more."""
        flight = self.flight
        ok, accepted = self.ok, 0
        while flight and flight[0].settled:
            first = flight.popleft()
            if first.refused is None:
                ok = first.last
                accepted += ok - first.first + 1
        if flight and flight[0].seq > flight[0].first:
            # Some of those that came together were acknowledged before.
            ok = flight[0].seq - 1
            accepted += flight[0].seq - flight[0].first
            flight[0].first = flight[0].seq
        router, session = self.peer.router, self.session
        router.accepted += accepted
        if session is None:
            self.ok = ok
            if not flight:
                self._rest()
        elif ok != self.ok:
            self.ok = ok
            if not session.marked:
                router.mark(session)

    def refused(self, seq: int, code: bytes) -> None:
        """The store remembers a refusal: now it can be told."""
        self.refusals[seq] = code
        self._not_now(seq, code)
        self._refused()

    def _refused(self) -> None:
        if self._refusing:
            self._refusing = False
            self.go_on()

    def not_kept(self) -> None:
        """The store did not take something that needs it no more; it does not know that seq."""
        self._handed = self._kept

    def roll_back(self, code: bytes) -> None:
        """The store did not take the first in flight: it and all after it have to come again."""
        if code in (b"gap", b"new-stream"):
            # The store knows another history of this stream, or none any more.
            self.known, code = False, b"new-stream"
        flight, self.flight = self.flight, deque()
        if not flight:
            return
        self.entered = flight[0].first - 1
        self._handed = self._kept
        left: dict[Mailbox, None] = {}
        for entry in flight:
            for seq in range(entry.first, entry.last + 1):
                self._not_now(seq, code)
                code = b"gap"
            if not entry.settled:
                left.update(dict.fromkeys(entry.withdrawn()))
        for mailbox in left:
            mailbox.go_on()
        if self.session is None:
            self._rest()
        self._refused()

    # --- receipts ---

    def got(self, seq: int, peer: Peer, time: int) -> None:
        """A recipient acknowledged a message that the store never had."""
        if self.session is not None:
            self.session.write(messages.got(seq, peer.name, time))
        else:
            receipt = Receipt(self.peer.text, self.text, seq, peer.text, time)
            self.peer.router.journal.keep(receipt)

    def tell(self, receipts: Iterable[Receipt]) -> None:
        """Tell what the store kept to be told; nothing if no session has the stream."""
        session = self.session
        if session is None:
            return
        for receipt in receipts:
            told = {"seq": receipt.seq, "peer": receipt.peer, "time": receipt.time}
            if receipt.expired:
                session.write(messages.event(b"expired", encode_json(told)))
            elif receipt.missed:
                session.write(messages.event(b"missed", encode_json(told)))
            else:
                name = receipt.peer.encode("ascii")
                session.write(messages.got(receipt.seq, name, receipt.time))
            self.peer.router.journal.told(receipt)
