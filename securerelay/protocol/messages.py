"""Session messages: header lines and bodies inside the DATA stream (SR1 section 5).

Reading is the hot path of a relay, so there is no object per message: the decoder cuts the stream
at the header lines, checks each token by its grammar, and calls one method of a typed receiver.
Most often a ``SEND`` is like the last one but for its number and its body, so its header is not
parsed but compared with what is expected, and a relay takes several of them, a *run*, in one call.
Writing is one function a verb. Names, stream ids and codes are ``bytes`` here, as they came.

More than 400 lines, for what reads each verb and what writes it belong side by side.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice
from typing import Any

from securerelay.errors import RemoteError
from securerelay.protocol.verbs import ClientVerbs as ClientVerbs
from securerelay.protocol.verbs import RelayVerbs as RelayVerbs
from securerelay.protocol.verbs import Runs

MAX_HEADER = 512
"""Bytes of the longest header line, its LF included."""
DEFAULT_LIMIT = 1 << 20
"""Bytes of the longest body, unless WELCOME announces another limit."""

_TAG = re.compile(rb"[A-Za-z0-9_-]{1,22}")
_STREAM = re.compile(rb"[A-Za-z0-9_-]{22}")
_WORD = re.compile(rb"[a-z0-9][a-z0-9.-]{0,63}")
_PEER = re.compile(rb"[a-z0-9](?:[a-z0-9._-]{0,30}[a-z0-9])?")
_NAME = re.compile(rb"@?" + _PEER.pattern)


def _bad(detail: str) -> RemoteError:
    return RemoteError("protocol", detail)


def number(token: bytes) -> int:
    """Read a number in its one form, less than 10^19.

    Raises:
        RemoteError: ``protocol`` for what ``int()`` alone would also take.
    """
    if token.isdigit() and (token[0] != 48 or len(token) == 1) and len(token) <= 19:
        return int(token)
    raise _bad("not a number")


# Lengths, lifetimes and names are few, and the same again and again.
_usual_number = functools.lru_cache(1024)(number)


@functools.lru_cache(1024)
def _name(token: bytes) -> bytes:
    if _NAME.fullmatch(token) is None:
        raise _bad("not a name")
    return token


def _matching(pattern: re.Pattern[bytes], token: bytes) -> bytes:
    if pattern.fullmatch(token) is None:
        raise _bad("a token of another form")
    return token


# --- reading: one small function a verb, named in the tables below ---

_Words = list[bytes]


def _stream(to: RelayVerbs | ClientVerbs, words: _Words, _: bytes) -> None:
    to.stream(_matching(_STREAM, words[1]), number(words[2]))


def _sent(words: _Words) -> tuple[int, bytes, int | None, bool]:
    _, seq, name, ttl, flags, _ = words
    if flags != b"-" and flags != b"r":
        raise _bad("unknown flags")
    if seq == b"0":
        raise _bad("seqs count from 1")
    return number(seq), _name(name), None if ttl == b"-" else _usual_number(ttl), flags == b"r"


def _send(to: RelayVerbs, words: _Words, body: bytes) -> None:
    to.send(*_sent(words), body)


def _relay_listen(to: RelayVerbs, words: _Words, _: bytes) -> None:
    to.listen(number(words[1]))


def _ack(to: RelayVerbs, words: _Words, _: bytes) -> None:
    to.ack(number(words[1]))


def _ping(to: RelayVerbs | ClientVerbs, words: _Words, _: bytes) -> None:
    to.ping(_matching(_TAG, words[1]))


def _pong(to: RelayVerbs | ClientVerbs, words: _Words, _: bytes) -> None:
    to.pong(_matching(_TAG, words[1]))


def _call(to: RelayVerbs, words: _Words, body: bytes) -> None:
    to.call(_matching(_TAG, words[1]), _matching(_WORD, words[2]), body)


def _ok(to: ClientVerbs, words: _Words, _: bytes) -> None:
    to.ok(number(words[1]))


def _no(to: ClientVerbs, words: _Words, _: bytes) -> None:
    to.no(number(words[1]), _matching(_WORD, words[2]))


def _client_listen(to: ClientVerbs, words: _Words, _: bytes) -> None:
    to.listen(number(words[1]), number(words[2]))


def _msg(to: ClientVerbs, words: _Words, body: bytes) -> None:
    _, n, sender, name, stream, seq, time, _ = words
    if _PEER.fullmatch(sender) is None or _NAME.fullmatch(name) is None:
        raise _bad("not a name")
    to.msg(number(n), sender, name, _matching(_STREAM, stream), number(seq), number(time), body)


def _got(to: ClientVerbs, words: _Words, _: bytes) -> None:
    to.got(number(words[1]), _matching(_PEER, words[2]), number(words[3]))


def _stopped(to: ClientVerbs, words: _Words, _: bytes) -> None:
    to.stopped(_matching(_WORD, words[1]))


def _reply(to: ClientVerbs, words: _Words, body: bytes) -> None:
    to.reply(_matching(_TAG, words[1]), _matching(_WORD, words[2]), body)


def _event(to: ClientVerbs, words: _Words, body: bytes) -> None:
    to.event(_matching(_WORD, words[1]), body)


_Row = tuple[int, bool, Callable[[Any, _Words, bytes], None]]

_LONGEST_RUN = 128
_LARGE = 65_536
"""Bytes of a body that is not taken together with others: whoever then reads one of them from a
disk, each with its own acknowledgement, would read the large one again every time.
"""
_A_CALL = 128
"""Messages that a CALL counts for in a turn: its JSON may be worth as much work."""
_PREDICTABLE = 1 << 60
"""From this seq on every header is parsed, so that no number in one is too long."""
_LONGEST_LENGTH = 20
"""Bytes of a length and the LF after it."""

_FROM_CLIENT: dict[bytes, _Row] = {  # words in the header, whether a body follows, what reads it
    b"SEND": (6, True, _send),
    b"ACK": (2, False, _ack),
    b"STREAM": (3, False, _stream),
    b"LISTEN": (2, False, _relay_listen),
    b"PING": (2, False, _ping),
    b"PONG": (2, False, _pong),
    b"CALL": (4, True, _call),
}
_FROM_RELAY: dict[bytes, _Row] = {
    b"MSG": (8, True, _msg),
    b"OK": (2, False, _ok),
    b"NO": (3, False, _no),
    b"GOT": (4, False, _got),
    b"STREAM": (3, False, _stream),
    b"LISTEN": (3, False, _client_listen),
    b"STOPPED": (2, False, _stopped),
    b"PING": (2, False, _ping),
    b"PONG": (2, False, _pong),
    b"REPLY": (4, True, _reply),
    b"EVENT": (3, True, _event),
}


class MessageDecoder:
    """Cuts the stream of DATA contents into messages and calls the receiver's method for each.

    Args:
        table: the verbs that may come.
        receiver: whose methods they are.
        limit: bytes of a body at most.
        runs: called instead of the receiver's ``send``.
        most: messages that are taken at once, where a run of SENDs is one and a CALL counts for
            many; as many as come if 0.
    """

    __slots__ = (
        "_expected",
        "_like",
        "_limit",
        "_missing",
        "_most",
        "_partial",
        "_receiver",
        "_runs",
        "_seq",
        "_table",
    )

    def __init__(
        self,
        table: dict[bytes, _Row],
        receiver: object,
        limit: int,
        runs: Runs | None = None,
        most: int = 0,
    ) -> None:
        self._table = table
        self._receiver = receiver
        self._limit = limit
        self._runs = runs
        self._most = most or sys.maxsize
        self._partial: bytearray | None = None
        self._missing = 0
        # How the next SEND begins and what it says if it is like the last one; none was, at first.
        self._seq, self._expected = _PREDICTABLE, b"SEND "
        self._like: tuple[bytes, int | None, bool, bytes] = b"", None, False, b""

    def feed(self, content: bytes) -> bool:
        """Take the content of a DATA record.

        Returns:
            Whether as many messages as may be at once were taken and others may be left: feed the
            next content or, for the time being, nothing to go on.

        Raises:
            RemoteError: ``protocol`` or ``too-large``; the session ends.
        """
        if self._partial is not None:
            if len(self._partial) + len(content) < self._missing:
                self._partial += content
                return False
            content = b"".join((self._partial, content))
            self._partial = None
        table, receiver, runs = self._table, self._receiver, self._runs
        position, size, more = 0, len(content), False
        turn = iter(range(self._most))
        for _ in turn:
            if position == size:
                break
            if runs is not None and content.startswith(self._expected, position):
                after = self._run(runs, content, position, [])
                if after > position:
                    position = after
                    continue
            newline = content.find(b"\n", position, position + MAX_HEADER)
            if newline < 0:
                if size - position >= MAX_HEADER:
                    raise _bad("header too long")
                break
            words = content[position:newline].split(b" ")
            row = table.get(words[0])
            if row is None or len(words) != row[0]:
                raise _bad("unknown verb, or a token too many or too few")
            after = newline + 1
            if row[1]:
                length = _usual_number(words[-1])
                if length > self._limit:
                    raise RemoteError("too-large", f"a body of {length} bytes")
                start = after
                after += length
                if after > size:
                    self._partial = bytearray(content[position:])
                    self._missing = after - position
                    return False
                if runs is not None and row[2] is _send:
                    seq, name, ttl, receipt = _sent(words)
                    alike = b" %b %b %b " % (name, words[3], words[4])
                    self._like = name, ttl, receipt, alike
                    self._seq, self._expected = seq + 1, b"SEND %d%b" % (seq + 1, alike)
                    after = self._run(runs, content, after, [content[start:after]])
                else:
                    row[2](receiver, words, content[start:after])
                    if row[2] is _call:
                        next(islice(turn, _A_CALL - 1, _A_CALL - 1), None)
            else:
                row[2](receiver, words, b"")
            position = after
        else:
            more = position < size
        if position < size:
            self._partial = bytearray(content[position:])
            self._missing = 0
        return more

    def _run(self, runs: Runs, content: bytes, position: int, bodies: list[bytes]) -> int:
        """Take SENDs that differ from the last one in seq, length and body alone.

        Args:
            runs: what takes them.
            content: the stream.
            position: where the first may begin.
            bodies: those before, to be taken with them.

        Returns:
            Where the last one that is complete ends.
        """
        seq = self._seq
        first = seq - len(bodies)
        length = len(bodies[0]) if bodies else 0
        last = min(first + (_LONGEST_RUN if length < _LARGE else 1), _PREDICTABLE)
        name, ttl, receipt, alike = self._like
        limit, size = self._limit, len(content)
        same = b"%b%d\n" % (alike, length)
        try:
            while seq < last:
                header = b"SEND %d%b" % (seq, same)
                start = position + len(header)
                if not content.startswith(header, position):  # of another length, if it is one
                    expected = b"SEND %d%b" % (seq, alike)
                    if not content.startswith(expected, position):
                        break
                    start = position + len(expected)
                    newline = content.find(b"\n", start, start + _LONGEST_LENGTH)
                    if newline < 0:
                        break
                    length = _usual_number(content[start:newline])
                    same = b"%b%d\n" % (alike, length)
                    start = newline + 1
                if length > limit or start + length > size:
                    break
                position = start + length
                bodies.append(content[start:position])
                seq += 1
        finally:  # what came before a breach counts
            if bodies:
                self._seq, self._expected = seq, b"SEND %d%b" % (seq, alike)
                runs(first, name, ttl, receipt, bodies)
        return position


def relay_decoder(
    receiver: RelayVerbs, limit: int = DEFAULT_LIMIT, runs: Runs | None = None, most: int = 0
) -> MessageDecoder:
    """Return a decoder of what clients say; see :class:`MessageDecoder`."""
    return MessageDecoder(_FROM_CLIENT, receiver, limit, runs, most)


def client_decoder(receiver: ClientVerbs, limit: int = DEFAULT_LIMIT) -> MessageDecoder:
    """Return a decoder of what a relay says."""
    return MessageDecoder(_FROM_RELAY, receiver, limit)


# --- writing ---


def stream(stream: bytes, number: int) -> bytes:
    """Write ``STREAM``: the client's last answered seq, or the relay's last consumed one."""
    return b"STREAM %b %d\n" % (stream, number)


def send(seq: int, to: bytes, ttl: int | None, receipt: bool, body: bytes) -> bytes:
    """Write ``SEND`` with its body."""
    lifetime = b"-" if ttl is None else b"%d" % ttl
    flags = b"r" if receipt else b"-"
    return b"SEND %d %b %b %b %d\n%b" % (seq, to, lifetime, flags, len(body), body)


def ok(seq: int) -> bytes:
    """Write ``OK``."""
    return b"OK %d\n" % seq


def no(seq: int, code: bytes) -> bytes:
    """Write ``NO``."""
    return b"NO %d %b\n" % (seq, code)


def listen(after: int) -> bytes:
    """Write the client's ``LISTEN``."""
    return b"LISTEN %d\n" % after


def listening(first: int, last: int) -> bytes:
    """Write the relay's ``LISTEN``."""
    return b"LISTEN %d %d\n" % (first, last)


def msg_header(
    number: int, sender: bytes, to: bytes, stream: bytes, seq: int, time: int, length: int
) -> bytes:
    """Write the header of ``MSG``; its body of ``length`` bytes follows, shared by many."""
    return b"MSG %d %b %b %b %d %d %d\n" % (number, sender, to, stream, seq, time, length)


def msg_place(sender: bytes, to: bytes, stream: bytes) -> bytes:
    """Write what the headers of one stream's messages to one recipient have in common."""
    return b" %b %b %b " % (sender, to, stream)


def msg_run(number: int, place: bytes, seq: int, time: int, bodies: Sequence[bytes]) -> bytes:
    """Write ``MSG`` for bodies that follow each other, all in one go."""
    count = len(bodies)
    one = b"MSG %%d%b%%d %d %%d\n%%b" % (place, time)  # no name has a % in it
    numbers, seqs = range(number, number + count), range(seq, seq + count)
    fields = zip(numbers, seqs, map(len, bodies), bodies)  # noqa: B905 - as many of each
    return one * count % tuple(chain.from_iterable(fields))


def msg_tail(place: bytes, seq: int, time: int, length: int) -> bytes:
    """Write what follows the number in the header of ``MSG``, for those who all get the same."""
    return b"%b%d %d %d\n" % (place, seq, time, length)


def msg_again(number: int, tail: bytes) -> bytes:
    """Write the header of ``MSG`` with what :func:`msg_tail` made."""
    return b"MSG %d%b" % (number, tail)


def msg_run_again(number: int, tails: Iterable[bytes], bodies: Iterable[bytes]) -> list[bytes]:
    """Write what :func:`msg_run` does, with what :func:`msg_tail` made for each, in pieces."""
    said: list[bytes] = []
    for tail, body in zip(tails, bodies):  # noqa: B905 - as many tails as bodies
        said.append(b"MSG %d%b" % (number, tail))
        said.append(body)
        number += 1
    return said


def ack(number: int) -> bytes:
    """Write ``ACK``."""
    return b"ACK %d\n" % number


def got(seq: int, peer: bytes, time: int) -> bytes:
    """Write ``GOT``."""
    return b"GOT %d %b %d\n" % (seq, peer, time)


def stopped(reason: bytes) -> bytes:
    """Write ``STOPPED``."""
    return b"STOPPED %b\n" % reason


def ping(token: bytes) -> bytes:
    """Write ``PING``."""
    return b"PING %b\n" % token


def pong(token: bytes) -> bytes:
    """Write ``PONG``."""
    return b"PONG %b\n" % token


def call(tag: bytes, method: bytes, body: bytes) -> bytes:
    """Write ``CALL`` with its JSON."""
    return b"CALL %b %b %d\n%b" % (tag, method, len(body), body)


def reply(tag: bytes, status: bytes, body: bytes) -> bytes:
    """Write ``REPLY`` with its JSON."""
    return b"REPLY %b %b %d\n%b" % (tag, status, len(body), body)


def event(kind: bytes, body: bytes) -> bytes:
    """Write ``EVENT`` with its JSON."""
    return b"EVENT %b %d\n%b" % (kind, len(body), body)
