"""What either end may say, as the methods of whoever hears it (SR1 section 5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Runs = Callable[[int, bytes, "int | None", bool, list[bytes]], None]
"""Takes SENDs to one recipient, numbered from the first on: as ``send``, with a list of bodies."""


class RelayVerbs(Protocol):
    """What a client may say: the methods of a relay's session."""

    def stream(self, stream: bytes, answered: int) -> None:
        """``STREAM``: open a sending stream; verdicts up to ``answered`` are known."""

    def send(self, seq: int, to: bytes, ttl: int | None, receipt: bool, body: bytes) -> None:
        """``SEND``: a message to a peer or ``@room``; ttl in seconds, None: default, 0: live."""

    def listen(self, after: int) -> None:
        """``LISTEN``: receive from the mailbox what comes after number ``after``."""

    def ack(self, number: int) -> None:
        """``ACK``: the mailbox may forget everything up to this number."""

    def ping(self, token: bytes) -> None:
        """``PING``: answer with the same token."""

    def pong(self, token: bytes) -> None:
        """``PONG``: the answer to our PING."""

    def call(self, tag: bytes, method: bytes, body: bytes) -> None:
        """``CALL``: a control method with JSON."""


class ClientVerbs(Protocol):
    """What a relay may say: the methods of a client."""

    def stream(self, stream: bytes, last: int) -> None:
        """``STREAM``: the stream is open; ``last`` is its last consumed seq."""

    def ok(self, seq: int) -> None:
        """``OK``: every seq up to this one that got no NO is accepted."""

    def no(self, seq: int, code: bytes) -> None:
        """``NO``: this seq is refused."""

    def listen(self, first: int, last: int) -> None:
        """``LISTEN``: the mailbox keeps numbers from ``first`` to ``last``."""

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
        """``MSG``: a message; time in Unix ms."""

    def got(self, seq: int, peer: bytes, time: int) -> None:
        """``GOT``: that peer's client acknowledged it."""

    def stopped(self, reason: bytes) -> None:
        """``STOPPED``: this session no longer listens."""

    def ping(self, token: bytes) -> None:
        """``PING``: answer with the same token."""

    def pong(self, token: bytes) -> None:
        """``PONG``: the answer to our PING."""

    def reply(self, tag: bytes, status: bytes, body: bytes) -> None:
        """``REPLY``: the answer to a CALL, ``ok`` or a code, with JSON."""

    def event(self, kind: bytes, body: bytes) -> None:
        """``EVENT``: something that was asked to be told, with JSON."""
