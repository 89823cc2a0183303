"""One connected peer: what it says goes to its stream and mailbox, what it is told waits here.

Everything that is said to a peer within one turn of the reactor leaves in one write; ``OK`` is one
line for all that was settled in the turn.  What cannot leave stays here, bounded: a peer that does
not take what it is told is not listened to any more from 1 MiB on (by default), and loses its
session, not its mail, at 8 MiB.

What the text of the protocol leaves open is decided so:

* A CALL above the peer's rate is answered ``rate``, one above 64 unanswered ones ``busy``; calls
  are answered in any order.
* A session's STREAM, LISTEN, ACK and CALL may come in any order, before and between SENDs; LISTEN
  more often than calls are allowed is a breach of the protocol.
* Every SEND counts against the peer's rate, whatever its verdict, and so does a PING, a PONG or an
  ACK of nothing new.  Who is too fast is not read for a tenth of a second, and longer if what it
  sent beyond its rate would have taken longer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from securerelay import failpoints
from securerelay.errors import RemoteError
from securerelay.protocol import messages
from securerelay.relay import methods
from securerelay.relay.stream import Stream
from securerelay.store.rows import StreamRow

if TYPE_CHECKING:
    from securerelay.relay.context import RelayContext
    from securerelay.relay.peer import Peer

FLUSH_BYTES = 256 * 1024
"""What is sealed at a time; the rest waits for the transport, so that progress shows."""
MOST_CALLS = 64
PENANCE = 0.1
"""Seconds for which who is too fast is not read."""
FARTHEST = 1 << 62
"""How far a stream can have come: from there nobody counts up to what the store cannot hold."""

_PING = messages.ping(b"beat")

_STREAM, _JOURNAL, _OUTPUT, _RATE, _DRAIN, _REST = 1, 2, 4, 8, 16, 32


class Wire(Protocol):
    """What a session needs of the connection under it."""

    @property
    def ready(self) -> bool:
        """Whether anything written now would leave now."""

    def send(self, data: bytes) -> bool:
        """Seal and write a stretch of the message stream if :attr:`ready`; tells whether it was."""

    def hold(self, hold: bool) -> None:
        """Stop reading, or go on."""

    def doze(self) -> None:
        """Take less memory until there is something to say or to hear."""

    def close(self, reason: str) -> None:
        """Begin an orderly end."""

    def alert(self, code: str) -> None:
        """End with an ALERT."""

    def abort(self, reason: str) -> None:
        """End without a word, for nobody would hear it."""


class Session:
    """One session of a peer; named after verbs are its methods as ``RelayVerbs``.

    Args:
        context: the relay.
        wire: the connection.
        peer: who was authenticated.
        session_id: 16 bytes, public.
        by_certificate: whether it proved its key in this session, rather than to have a ticket.
        auth_time: when it last proved its key, Unix ms.
    """

    __slots__ = (
        "_calls",
        "_held",
        "_out",
        "_waiting",
        "_wire",
        "auth_time",
        "by_certificate",
        "context",
        "marked",
        "peer",
        "sending",
        "session_id",
        "since",
        "size",
    )

    def __init__(
        self,
        context: RelayContext,
        wire: Wire,
        peer: Peer,
        session_id: bytes,
        by_certificate: bool,
        auth_time: int,
    ) -> None:
        self.context = context
        self.peer = peer
        self.session_id = session_id
        self.by_certificate = by_certificate
        self.auth_time = auth_time
        self.since = context.now()
        self.sending: Stream | None = None
        self.marked = False
        self.size = 0
        self._wire: Wire | None = wire
        self._out: list[bytes] = []
        self._waiting: list[bytes] = []
        self._held = 0
        self._calls = 0

    # --- output ---

    def write(self, data: bytes) -> None:
        """Say something at the end of this turn."""
        self._out.append(data)
        if not self.marked:
            self.context.router.mark(self)

    def push(self, said: Iterable[bytes]) -> None:
        """Say headers and bodies that others may be told too, without joining them first."""
        self._out += said
        if not self.marked:
            self.context.router.mark(self)

    def flush(self) -> None:
        """Write what waits, as far as the connection takes it."""
        self.marked = False
        wire = self._wire
        if wire is None:
            return
        out, stream = self._out, self.sending
        if stream is not None and stream.ok > stream.told:
            stream.told = stream.ok
            out.append(messages.ok(stream.ok))
        if self._waiting:
            self._wait(out)
        elif out:
            said = b"".join(out)
            if len(said) <= FLUSH_BYTES and wire.send(said):
                out.clear()
                return
            if wire.ready:
                out[:] = [said[at : at + FLUSH_BYTES] for at in range(0, len(said), FLUSH_BYTES)]
            self._wait(out)
        while self._waiting and wire.ready:
            wire.send(self._take())
        if self.size or self._held & _OUTPUT:
            self._bound(wire)

    def _wait(self, out: list[bytes]) -> None:
        """Leave what is said to later; pieces that others are told too stay what they are."""
        self._waiting += out
        self.size += sum(map(len, out))
        out.clear()

    def _take(self) -> bytes:
        waiting = self._waiting
        count = taken = 0
        while taken < FLUSH_BYTES and count < len(waiting):
            taken += len(waiting[count])
            count += 1
        said = b"".join(waiting[:count])
        del waiting[:count]
        self.size -= taken
        return said

    def _bound(self, wire: Wire) -> None:
        limits = self.context.config.limits
        if self.size > limits.buffer_abort_bytes:
            wire.abort("slow")
        elif self.size > limits.buffer_pause_bytes:
            self._hold(_OUTPUT, True)
        elif self.size <= limits.buffer_pause_bytes // 2:
            self._hold(_OUTPUT, False)

    # --- input ---

    @property
    def held(self) -> bool:
        """Whether it is not to be read now, for whatever reason."""
        return bool(self._held)

    def _hold(self, reason: int, hold: bool) -> None:
        before = self._held
        self._held = before | reason if hold else before & ~reason
        if self._wire is not None and bool(before) != bool(self._held):
            self._wire.hold(hold)

    def hold_stream(self, hold: bool) -> None:
        """Do not read while the stream waits for the store."""
        self._hold(_STREAM, hold)

    def displaced(self) -> None:
        """Another session opened our stream; who waits for an answer to it would wait in vain."""
        self.sending = None
        if self._held & _STREAM:
            self.close("stream-taken")

    def hold_journal(self, hold: bool) -> None:
        """Do not read while too much is on its way to the store."""
        self._hold(_JOURNAL, hold)

    def hold_rest(self, hold: bool) -> None:
        """Do not read while what was read before is not all taken."""
        self._hold(_REST, hold)

    def slow_down(self) -> None:
        """Do not read for a moment, for the peer is faster than it may be; longer for more of it.

        A single read holds thousands of short messages, and to say no costs time as well.
        """
        self.peer.excess.owe(1)
        if not self._held & _RATE:
            self._hold(_RATE, True)
            self.context.reactor.callLater(PENANCE, self._go_on)

    def _go_on(self) -> None:
        wait = self.peer.excess.take(0)
        if wait > 0.0 and self._wire is not None:
            self.context.reactor.callLater(max(wait, PENANCE), self._go_on)
        else:
            self._hold(_RATE, False)

    def _chat(self) -> None:
        """Count what costs little, but not nothing: it may come as often as messages."""
        if not self.peer.allowance.take(0):
            self.slow_down()

    def hold_reading(self) -> None:
        """Do not read any more, for the relay ends."""
        self._hold(_DRAIN, True)

    # --- RelayVerbs ---

    def stream(self, stream: bytes, answered: int) -> None:
        """``STREAM``: open a sending stream, or go on with it."""
        if self.sending is not None:
            raise RemoteError("protocol", "a second STREAM")
        if answered > FARTHEST:
            raise RemoteError("protocol", "no stream comes so far")
        peer, router = self.peer, self.context.router
        opened = peer.streams.get(stream)
        if opened is None:
            opened = Stream(peer, stream)
        opened.opening(self, answered)
        peer.streams[stream] = opened
        self.sending = opened
        opening = router.store.stream_open(peer.text, opened.text, answered, router.now())
        opening.addCallback(self._opened, opened, answered)
        opening.addErrback(self.broke)
        if not opening.called:
            self.hold_stream(True)

    def _opened(self, row: StreamRow, stream: Stream, answered: int) -> None:
        failpoints.reach("stream-opened")
        if self.sending is stream:
            stream.opened(row, answered)

    def send(self, seq: int, to: bytes, ttl: int | None, receipt: bool, body: bytes) -> None:
        """``SEND``: a message."""
        self.send_run(seq, to, ttl, receipt, [body])

    def send_run(
        self, seq: int, to: bytes, ttl: int | None, receipt: bool, bodies: list[bytes]
    ) -> None:
        """``SEND``: messages numbered from ``seq`` on."""
        stream = self.sending
        if stream is None:
            raise RemoteError("protocol", "SEND without a stream that is this session's")
        stream.send(seq, to, ttl, receipt, bodies)

    def listen(self, after: int) -> None:
        """``LISTEN``: serve the mailbox to this session."""
        if not self.peer.may_call():
            raise RemoteError("protocol", "LISTEN more often than calls are allowed")
        listening = Deferred.fromCoroutine(self._listen(after))
        listening.addErrback(self.broke)

    async def _listen(self, after: int) -> None:
        router = self.context.router
        mailbox = await router.mailbox(self.peer)
        if self._wire is None:
            return
        first = mailbox.listener is None
        await mailbox.listen(self, after)
        if first:
            router.presence.changed(self.peer, router.now())

    def ack(self, number: int) -> None:
        """``ACK``: the mailbox may forget everything up to this number."""
        mailbox = self.peer.mailbox
        if mailbox is None:
            raise RemoteError("protocol", "ACK without LISTEN")
        if not mailbox.ack(number):
            self._chat()

    def ping(self, token: bytes) -> None:
        """``PING``: answer."""
        self._chat()
        self.write(messages.pong(token))

    def pong(self, token: bytes) -> None:
        """``PONG``: that something came at all is what counts, and that nothing else did."""
        self._chat()
        if self._wire is not None:
            self._wire.doze()

    def call(self, tag: bytes, method: bytes, body: bytes) -> None:
        """``CALL``: a control method."""
        if not self.peer.may_call():
            self.write(messages.reply(tag, b"rate", b""))
            self.slow_down()
        elif self._calls >= MOST_CALLS:
            self.write(messages.reply(tag, b"busy", b""))
        else:
            self._calls += 1
            calling = Deferred.fromCoroutine(methods.answer(self, method, body))
            calling.addCallback(self._answered, tag)
            calling.addErrback(self.broke)

    def _answered(self, answer: tuple[bytes, bytes], tag: bytes) -> None:
        self._calls -= 1
        self.write(messages.reply(tag, *answer))

    def beat(self) -> None:
        """Ask whether anybody is there."""
        self.write(_PING)

    def stopped(self, reason: bytes) -> None:
        """Tell that this session does not receive any more."""
        self.write(messages.stopped(reason))

    # --- the end ---

    def cut(self, code: str) -> None:
        """End at once, with an ALERT."""
        if self._wire is not None:
            self._wire.alert(code)

    def close(self, reason: str) -> None:
        """End in order: what waits is written as far as it leaves, then CLOSE."""
        if self._wire is not None:
            self.flush()
            self._wire.close(reason)
        self._hold(self._held, False)

    def broke(self, failure: Failure) -> None:
        """Something of ours failed in this session's service: it ends, the others live on."""
        if self._wire is not None:
            self.context.log.failure("session.failed", failure, source=self.peer.text)
            self._wire.alert("internal")

    def left(self) -> None:
        """The connection is over; called once."""
        if self._wire is None:
            return
        self._wire = None
        self._out.clear()
        self._waiting.clear()
        self.size = 0
        stream, self.sending = self.sending, None
        if stream is not None:
            stream.left()
        self.context.router.leave(self)
