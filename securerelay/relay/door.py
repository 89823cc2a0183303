"""Strangers that do not know the relay are sent away before Twisted hears of them.

A connection costs Twisted several times what it costs the kernel.  So listening ports ask for
connections through a :class:`Door`: it answers who has said one whole first line without the knock,
which is what a flood says, and lets everybody else through with not a byte taken.  Once strangers
have used up their share of the processor there is no answer any more.  What it does not see, such
as a line that comes later or in parts, :mod:`~securerelay.relay.wire` answers in the same words.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from typing import Any

from securerelay.errors import RemoteError
from securerelay.protocol import hello, lines
from securerelay.relay.context import RelayContext
from securerelay.relay.limits import source_of

A_TURN = 64
"""Strangers that are sent away before others have their turn."""

OFFENCES = {
    "timeout": "timeout",
    "busy": "busy",
    "auth-failed": "failed",
    "bad-line": "protocol",
    "too-long": "protocol",
    "protocol": "protocol",
    "bad-share": "protocol",
}
"""What is held against a source when a handshake ends so, as :meth:`.Gate.penalise` calls it."""


def failed(context: RelayContext, source: str, code: str, detail: str) -> None:
    """Tell of a handshake that failed, and hold it against its source.

    Args:
        context: the relay.
        source: from :func:`.source_of`.
        code: what ended it, of :data:`.ERROR_CODES` most often.
        detail: for the log.
    """
    gate, log = context.gate, context.log
    log.stranger("handshake.failed", source=source, code=code, detail=detail)
    gate.failures[code if code in hello.ERROR_CODES else "other"] += 1
    if code in OFFENCES and gate.penalise(source, OFFENCES[code]):
        log.stranger("source.penalised", source=source)


class Door:
    """Stands in for the socket of a :class:`twisted.internet.tcp.Port`.

    Args:
        listening: the port's own socket; it does everything but :meth:`accept`.
        context: the relay.
    """

    def __init__(self, listening: socket.socket, context: RelayContext) -> None:
        self._listening = listening
        self._context = context
        self._key = hello.knock_key(context.handshake.relay_id)
        self._left = A_TURN

    def __getattr__(self, name: str) -> Any:
        return getattr(self._listening, name)

    def accept(self) -> tuple[socket.socket, tuple[Any, ...]]:
        """Return the next connection that is not sent away at once, and where it comes from.

        Raises:
            BlockingIOError: if there is none, or others have their turn first.
            OSError: as the socket does.
        """
        cpu = self._context.gate.cpu
        spent = cpu.wait() > 0.0
        # Above their share nothing is charged, or who knocks would wait for what a flood has cost.
        with contextlib.nullcontext() if spent else cpu.measured():
            while self._left:
                wire, address = self._listening.accept()
                if not self._sent_away(wire, address[0], spent):
                    return wire, address
                self._left -= 1
        self._left = A_TURN
        raise BlockingIOError(errno.EAGAIN, "others have their turn")

    def _sent_away(self, wire: socket.socket, host: str, spent: bool) -> bool:
        """Send away who does not knock; without a word if strangers have spent their share."""
        try:
            said = wire.recv(lines.MAX_LINE, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:
            return False
        # There may be more than was looked at, and what is left unread resets what we say.
        if len(said) == lines.MAX_LINE or not lines.is_whole(said):
            return False
        try:
            hello.check_knock(said[:-1], self._key)
        except RemoteError as error:
            if spent:
                self._context.gate.refusals["share"] += 1
                _reset(wire)
            else:
                self._answer(wire, source_of(host), len(said), error)
            return True
        return False

    def _answer(self, wire: socket.socket, source: str, size: int, error: RemoteError) -> None:
        """Say what is wrong, as every connection does, unless the source is refused a word."""
        gate = self._context.gate
        if not gate.arrived(source):
            _reset(wire)
            return
        gate.left(source)
        with wire, contextlib.suppress(OSError):
            wire.recv(size, socket.MSG_DONTWAIT)
            wire.send(hello.write_error(error.code), socket.MSG_DONTWAIT)
            failed(self._context, source, error.code, error.detail)


def _reset(wire: socket.socket) -> None:
    with wire, contextlib.suppress(OSError):
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
