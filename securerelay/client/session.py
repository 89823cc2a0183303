"""What a client says and hears once it is connected, over any number of connections in turn.

The session outlives a connection: what was not answered is said again on the next one, as far as
that is safe.
"""

from __future__ import annotations

import typing
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from securerelay.client.calls import RELAYED, Calls, Event, Events, read_json
from securerelay.client.entry import Entry, Fate
from securerelay.client.inbox import Inbox
from securerelay.client.journal import Journal
from securerelay.client.outbox import Outbox
from securerelay.client.sealing.sealing import Sealing
from securerelay.errors import ConnectError, Refused
from securerelay.protocol import messages
from securerelay.protocol.messages import MessageDecoder

MESSAGE_LIMIT = 1 << 20
"""Bytes of a body, until the relay announces another limit."""
MISSED = {"expired": "expired", "missed": "mailbox-full"}
"""Events that tell who does not get a message, and why."""
LIFETIME = 30 * 86_400
"""Seconds that the relay keeps a message, until it announces its own."""


def _limit(limits: dict[str, typing.Any], name: str, otherwise: int) -> int:
    """Read a limit that the relay announces."""
    value = limits.get(name)
    return value if type(value) is int and value > 0 else otherwise


class Connection(typing.Protocol):
    """What a session needs of the connection under it."""

    def wake(self) -> None:
        """Write what is due at the end of this turn."""

    def close(self) -> None:
        """End in order."""

    def hold_reading(self, hold: bool) -> None:
        """Stop, or go on, reading."""


class Session:
    """Outbox, inbox, calls and events, joined to the verbs of the protocol (its ``ClientVerbs``).

    Args:
        clock: for the waits before a new try.
        journal: what the profile keeps on disk; None to keep everything in memory.
        outbox: what to send; None for a new outbox.
        begun: called at the beginning of every connection.
        sealing: seals what is sent and opens what comes; None to carry bodies as they are given.
    """

    def __init__(
        self,
        clock: IReactorTime,
        journal: Journal | None = None,
        outbox: Outbox | None = None,
        begun: Callable[[], None] = lambda: None,
        sealing: Sealing | None = None,
    ) -> None:
        self._clock = clock
        self._connection: Connection | None = None
        self._control: list[bytes] = []
        self._pong: bytes | None = None
        self._stream_said = False
        self._listening = self._served = False
        self._acked = 0
        self._again: IDelayedCall | None = None
        self._readers: list[Events] = []
        self._begun = begun
        self._pings: list[Deferred[None]] = []
        self.limit = MESSAGE_LIMIT
        self.lifetime = self.longest = LIFETIME
        self.watching = False
        self.calls = Calls()
        self._sealing = sealing
        pen, opener = (sealing.pen(), sealing.opener) if sealing is not None else (None, None)
        if outbox is None:
            outbox = Outbox(self._refused_later, journal=journal, pen=pen)
        self.outbox = outbox
        self.outbox.wake = self.wake
        self.inbox = Inbox(self._acknowledged, self._pressure, journal, opener)
        if sealing is not None:
            sealing.join(outbox, self.inbox, self.tell, self._refused_later, self._listen_again)

    # -- the connection's life

    def begin(self, connection: Connection, limits: dict[str, typing.Any]) -> None:
        """A connection is authenticated: say again what has to be said on every one.

        Args:
            connection: where to write.
            limits: as in WELCOME.
        """
        self._connection = connection
        self._stream_said = self._served = False
        self._acked = 0
        self.outbox.connected(True)
        self.limit = _limit(limits, "message", self.limit)
        self.lifetime = _limit(limits, "ttl", self.lifetime)
        self.longest = _limit(limits, "ttl_longest", self.longest)
        if self._listening:
            self.inbox.refresh()
            self._control.append(messages.listen(self.inbox.last))
        if self.watching:
            self.calls.add("peer.watch", {}).addErrback(lambda _: None)
        self.tell(Event("connected", {}))
        self._begun()

    def end(self) -> None:
        """The connection is gone."""
        if self._connection is None:
            return
        self._connection = None
        self._control.clear()
        self._pong = None
        if self._again is not None and self._again.active():
            self._again.cancel()
        self.outbox.connected(False)
        lost = ConnectError("the connection was lost before the relay answered")
        self.calls.fail(lost)
        pings, self._pings = self._pings, []
        for ping in pings:
            ping.errback(lost)
        self.tell(Event("disconnected", {}))

    def fail(self, error: Exception) -> None:
        """There will be no connection any more."""
        self.calls.fail(error)
        self.outbox.fail(error)
        if self._sealing is not None:
            self._sealing.fail(error)
        self.inbox.fail(error)
        readers, self._readers = self._readers, []
        for reader in readers:
            reader.fail(error)

    def wake(self) -> None:
        """Have what is due written at the end of this turn."""
        if self._connection is not None:
            self._connection.wake()

    def pull(self, budget: int) -> list[bytes]:
        """Give what is to be written now: control first, then messages."""
        out, self._control = self._control, []
        if self._pong is not None:
            out.append(messages.pong(self._pong))
            self._pong = None
        out += self.calls.take()
        if self._served and self.inbox.acked > self._acked:
            self._acked = self.inbox.acked
            out.append(messages.ack(self._acked))
        if self.outbox.wants_stream and not self._stream_said:
            self._stream_said = True
            out.append(messages.stream(*self.outbox.opening()))
        if self._stream_said:
            out += self.outbox.take(budget)
        return out

    def decoder(self) -> MessageDecoder:
        """Make what cuts the relay's byte stream into the calls below."""
        return messages.client_decoder(self, self.limit)

    # -- the application's side

    def post(self, entry: Entry) -> None:
        """Send a message."""
        if self._sealing is not None:
            self._sealing.sealer.post(entry)
        else:
            self.outbox.add(entry)
        self.wake()

    def space(self) -> Deferred[None] | None:
        """Say when there is room for more messages; None if there is room now."""
        held = self._sealing.sealer.held.space() if self._sealing is not None else None
        return held or self.outbox.space()

    def withdraw(self, entry: Entry) -> Fate:
        """Stop waiting for a message, and take it back if only memory has it."""
        if self._sealing is not None:
            return self._sealing.sealer.withdraw(entry)
        return self.outbox.withdraw(entry)

    def start_listening(self) -> None:
        """Receive messages, on this connection and those to come."""
        if not self._listening:
            self._listening = True
            self.inbox.revive()
            self.inbox.refresh()
            if self._connection is not None:
                self._control.append(messages.listen(self.inbox.last))
                self.wake()

    def _listen_again(self) -> None:
        """Ask for the mailbox again, to hear what is in it from now on."""
        if self._listening and self._connection is not None:
            self._control.append(messages.listen(self.inbox.last))
            self.wake()

    def _acknowledged(self) -> None:
        if self._sealing is not None:
            self._sealing.processed()
        self.wake()

    def heard(self) -> Deferred[None]:
        """Say when the relay has heard all that was said so far, and has told what it had to tell.

        Raises:
            ConnectError: through the Deferred, if the connection was lost before.
        """
        waiting: Deferred[None] = Deferred()
        if self._connection is None:
            waiting.errback(ConnectError("there is no connection"))
            return waiting
        self._pings.append(waiting)
        self._control.append(messages.ping(b"heard"))
        self.wake()
        return waiting

    def read_events(self, kinds: frozenset[str]) -> Events:
        """Collect events from now on."""
        events = Events(kinds, self._readers.remove)
        self._readers.append(events)
        return events

    def tell(self, event: Event) -> None:
        """Pass an event to everyone who reads events."""
        for reader in self._readers:
            reader.put(event)

    def _refused_later(self, entry: Entry, code: str) -> None:
        if entry.letter is not None and entry.letter.hidden:
            return
        self.tell(Event("refused", {"to": entry.to.decode(), "seq": entry.seq, "code": code}))

    def _pressure(self, full: bool) -> None:
        if self._connection is not None:
            self._connection.hold_reading(full)

    # -- ClientVerbs

    def stream(self, stream: bytes, last: int) -> None:
        """The relay opened our stream."""
        if stream == self.outbox.stream:
            self.outbox.opened(last)
            self._after_verdict()

    def ok(self, seq: int) -> None:
        """Messages were accepted."""
        self.outbox.ok(seq)
        self._after_verdict()

    def no(self, seq: int, code: bytes) -> None:
        """A message was refused, for good or for now."""
        delay = self.outbox.no(seq, code)
        if delay is not None:
            self._again = self._clock.callLater(delay, self._try_again)
        self._after_verdict()

    def _try_again(self) -> None:
        self.outbox.resume()
        self.wake()

    def _after_verdict(self) -> None:
        if self.outbox.must_reopen:
            # A session opens one stream; the next stream takes the next session.
            self.outbox.reopen()
            if self._connection is not None:
                self._connection.close()
        else:
            self.wake()

    def listen(self, first: int, last: int) -> None:
        """The relay serves our mailbox from now on; before, it takes no ACK."""
        self._served = True
        if self._sealing is not None:
            self._sealing.listened(first, last)
        if self.inbox.acked:
            self.wake()

    def msg(
        self,
        number: int,
        sender: bytes,
        to: bytes,
        stream: bytes,
        seq: int,
        time: int,
        body: bytes,
    ) -> None:
        """A message came."""
        self.inbox.received(number, sender, to, stream, seq, time, body)

    def got(self, seq: int, peer: bytes, time: int) -> None:
        """A recipient acknowledged a message of ours."""
        self.outbox.got(seq, time)
        self.tell(Event("receipt", {"seq": seq, "peer": peer.decode(), "time": time}))

    def stopped(self, reason: bytes) -> None:
        """Our mailbox is served to another session now, and not to us any more."""
        self._listening = False
        self.inbox.fail(
            Refused(reason.decode("ascii", "replace"), "another session of this name listens now")
        )

    def ping(self, token: bytes) -> None:
        """The relay asks whether we are here."""
        self._pong = token
        self.wake()

    def pong(self, token: bytes) -> None:
        """The relay is here."""
        if token == b"heard" and self._pings:
            self._pings.pop(0).callback(None)

    def reply(self, tag: bytes, status: bytes, body: bytes) -> None:
        """A call is answered."""
        self.calls.reply(tag, status, body)

    def event(self, kind: bytes, body: bytes) -> None:
        """Something happened at the relay."""
        event = Event(kind.decode("ascii", "replace"), read_json(body))
        if event.kind not in RELAYED:
            return  # of a newer relay, or one that puts words into this program's mouth
        code, seq, peer = MISSED.get(event.kind), event.data.get("seq"), event.data.get("peer")
        if code is not None and isinstance(seq, int) and isinstance(peer, str):
            self.outbox.missed(seq, peer, code)
        if self._sealing is not None:
            self._sealing.heard(event)
        self.tell(event)
