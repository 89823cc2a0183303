"""The pipe that both ends of a channel share: raw bytes, in order, encrypted and authenticated."""

from __future__ import annotations

import typing
from collections import deque

from twisted.internet import interfaces
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress, IConsumer, IProtocol, ITransport
from twisted.python.failure import Failure
from zope.interface import implementer

from securerelay.errors import ConnectError
from securerelay.protocol.connection import ClientConnection, End, RelayConnection

UNREAD = 1 << 20
"""Bytes that nobody has read above which the other end is not heard any more."""


class Carrier(typing.Protocol):
    """What carries the bytes of one connection: a transport, or a part of something else."""

    def write(self, data: bytes) -> None:
        """Carry bytes to the other end."""

    def lose(self) -> None:
        """Deliver what was written, then end."""

    def hold(self, hold: bool) -> None:
        """Stop, or go on, delivering what comes."""


class Pipe:
    """One end of a channel.

    Read it with ``async for chunk in pipe``: it stops when the other end has closed the pipe, and
    raises ConnectError when the bytes just stopped, so that a cut never looks like an end.

    Args:
        connection: the handshake is over.
        carrier: what carries its bytes.
    """

    def __init__(self, connection: RelayConnection | ClientConnection, carrier: Carrier) -> None:
        self._connection = connection
        self._carrier = carrier
        self._unsent: list[bytes] = []
        self._queue: deque[bytes] = deque()
        self._unread = 0
        self._held = self._paused = self._closing = False
        self._reader: Deferred[bytes] | None = None
        self._writers: list[Deferred[None]] = []
        self._closers: list[Deferred[None]] = []
        self._end: End | None = None
        self._protocol: IProtocol | None = None
        self._producer: typing.Any = None
        self._pull = False
        self.session_id = connection.session_id

    @property
    def fingerprint(self) -> str:
        """What people compare to be sure that nobody sits between; public."""
        digits = self.session_id.hex()
        return "-".join(digits[at : at + 4] for at in range(0, len(digits), 4))

    # -- writing

    def write(self, data: bytes) -> Deferred[None]:
        """Send bytes.

        Args:
            data: any number of them.

        Returns:
            Fires when more may be written: at once, unless the other end is slow.

        Raises:
            ConnectError: through the Deferred, when the pipe is closed.
        """
        if self._end is not None or self._closing:
            return fail(ConnectError("the pipe is closed"))
        if data:
            self._unsent.append(bytes(data))
            self.flush()
        if not self._paused and not self._unsent:
            return succeed(None)
        waiter: Deferred[None] = Deferred(self._writers.remove)
        self._writers.append(waiter)
        return waiter

    def flush(self) -> None:
        """Write what a change of keys held up."""
        if self._unsent and self._connection.may_send:
            unsent, self._unsent = self._unsent, []
            self._connection.send(b"".join(unsent))
        self._let_writers_go()

    def slow(self, paused: bool) -> None:
        """Hear from the carrier that it has enough for now, or takes more."""
        self._paused = paused
        self._let_writers_go()
        if self._producer is not None and not self._pull:
            if paused:
                self._producer.pauseProducing()
            else:
                self._producer.resumeProducing()

    def _let_writers_go(self) -> None:
        if not self._paused and not self._unsent:
            writers, self._writers = self._writers, []
            for writer in writers:
                writer.callback(None)
            self._ask()

    def close(self) -> Deferred[None]:
        """End the pipe in order: the other end reads everything written before, then its end.

        Returns:
            Fires when the other end has answered, or is gone.
        """
        if self._end is not None:
            return succeed(None)
        closer: Deferred[None] = Deferred(self._closers.remove)
        self._closers.append(closer)
        if not self._closing:
            self.flush()
            self._closing = True
            self._connection.close("done")
        return closer

    # -- reading

    def read(self) -> Deferred[bytes]:
        """Return the next chunk, of whatever size it came in; empty at the end.

        Raises:
            ConnectError: through the Deferred, when the bytes stopped without an end.
        """
        if self._queue:
            chunk = self._queue.popleft()
            self._unread -= len(chunk)
            if self._held and self._unread <= UNREAD // 2:
                self._held = False
                self._carrier.hold(False)
            return succeed(chunk)
        if self._end is not None:
            return succeed(b"") if self._end.orderly else fail(self._cut(self._end))
        assert self._reader is None, "one reader at a time"

        def forget(_: Deferred[bytes]) -> None:
            self._reader = None

        self._reader = Deferred(forget)
        return self._reader

    def __aiter__(self) -> Pipe:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self.read()
        if not chunk:
            raise StopAsyncIteration
        return chunk

    @staticmethod
    def _cut(end: End) -> ConnectError:
        return ConnectError(f"the pipe was cut: {end.code}")

    # -- from the connection

    def received(self, chunk: bytes) -> None:
        """Take what came."""
        if self._protocol is not None:
            self._protocol.dataReceived(chunk)
        elif self._reader is not None:
            reader, self._reader = self._reader, None
            reader.callback(chunk)
        else:
            self._queue.append(chunk)
            self._unread += len(chunk)
            if not self._held and self._unread > UNREAD:
                self._held = True
                self._carrier.hold(True)

    def ended(self, end: End) -> None:
        """Take how it ended."""
        self._end = end
        self._unsent.clear()
        if self._producer is not None:
            self._producer, producer = None, self._producer
            producer.stopProducing()
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.callback(b"") if end.orderly else reader.errback(self._cut(end))
        writers, self._writers = self._writers, []
        for writer in writers:
            writer.errback(ConnectError("the pipe was closed"))
        closers, self._closers = self._closers, []
        for closer in closers:
            closer.callback(None)
        if self._protocol is not None:
            protocol, self._protocol = self._protocol, None
            reason = ConnectionDone() if end.orderly else ConnectionLost(end.code)
            protocol.connectionLost(Failure(reason))

    def attach(self, protocol: IProtocol) -> None:
        """Run a Twisted protocol over the pipe instead of reading it by hand.

        Args:
            protocol: its ``transport`` will be the pipe's end.
        """
        assert self._reader is None, "the pipe is being read"
        self._protocol = protocol
        protocol.makeConnection(PipeTransport(self))
        while self._queue and self._protocol is not None:
            chunk = self._queue.popleft()
            self._unread -= len(chunk)
            protocol.dataReceived(chunk)
        if self._held:
            self._held = False
            self._carrier.hold(False)
        if self._end is not None:
            self.ended(self._end)

    def produce(self, producer: typing.Any, pull: bool = False) -> None:
        """Let a producer hear when the other end is slow; None when it has done.

        Args:
            producer: see IPushProducer, or IPullProducer.
            pull: whether it has to be asked for every piece.
        """
        self._producer, self._pull = producer, pull
        self._ask()

    def _ask(self) -> None:
        while self._pull and self._producer is not None and not self._paused and not self._unsent:
            self._producer.resumeProducing()

    def hold(self, hold: bool) -> None:
        """Stop, or go on, delivering what comes."""
        self._carrier.hold(hold)

    def abort(self) -> None:
        """End the pipe without a word; to the other end it looks cut."""
        self._connection.lost()
        self._carrier.lose()


@implementer(IAddress)
class PipeAddress:
    """The address of an end of a pipe: there is none."""


@implementer(ITransport, IConsumer, interfaces.IPushProducer)
class PipeTransport:
    """A pipe as the transport of a Twisted protocol.

    Args:
        pipe: the end to write to.
    """

    disconnecting = False

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe

    def write(self, data: bytes) -> None:
        """See ITransport."""
        self.pipe.write(data).addErrback(lambda failure: failure.trap(ConnectError) and None)

    def writeSequence(self, data: typing.Iterable[bytes]) -> None:
        """See ITransport."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """See ITransport."""
        self.disconnecting = True
        self.pipe.close()

    def abortConnection(self) -> None:
        """End without a word."""
        self.pipe.abort()

    def getPeer(self) -> PipeAddress:
        """See ITransport."""
        return PipeAddress()

    def getHost(self) -> PipeAddress:
        """See ITransport."""
        return PipeAddress()

    def registerProducer(self, producer: typing.Any, streaming: bool) -> None:
        """See IConsumer."""
        self.pipe.produce(producer, pull=not streaming)

    def unregisterProducer(self) -> None:
        """See IConsumer."""
        self.pipe.produce(None)

    def pauseProducing(self) -> None:
        """See IPushProducer."""
        self.pipe.hold(True)

    def resumeProducing(self) -> None:
        """See IPushProducer."""
        self.pipe.hold(False)

    def stopProducing(self) -> None:
        """See IPushProducer."""
        self.loseConnection()
