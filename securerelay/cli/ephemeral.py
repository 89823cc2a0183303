"""``securerelay chat --ephemeral``: a channel with keys of its own, inside messages of the relay.

Both ends say hello, each with a nonce, as often as the other one appears anew. The one whose name
is the higher makes an authority, a key and an invitation that live in memory alone and sends the
invitation; the other one joins with a key of the same kind. From there on lines travel inside the
channel. The relay carries the invitation, so it could sit in between; it would show: the
fingerprints at the two ends would differ.

A frame is the body of a message with lifetime 0: one line, ``securerelay-chat/1 KIND ARGUMENT``,
and what follows it. Kinds are ``hello`` with a nonce, ``invite`` and ``data`` with the tag of the
attempt, which is both nonces, so that nothing of an earlier attempt counts.
"""

from __future__ import annotations

import gc
import secrets
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure as Failed

from securerelay.channel import tunnel
from securerelay.cli.chat import LEAVE
from securerelay.cli.exits import Failure
from securerelay.cli.first import first
from securerelay.cli.lines import LONGEST
from securerelay.cli.messages import say_message
from securerelay.cli.output import Block, Output
from securerelay.errors import Refused, SecureRelayError

if TYPE_CHECKING:
    from securerelay.channel import Pipe
    from securerelay.cli.lines import Input
    from securerelay.client import Client, Sent

MAGIC = b"securerelay-chat/1 "
TYPE = "application/vnd.securerelay.chat"
TIMEOUT = 30.0
GOODBYE = 2.0
"""Seconds that the other end has to answer our goodbye."""
TICK = 60.0
"""Seconds between looks at the age of the keys."""


class Meeting:
    """Finds the other end through the relay, and carries the channel's bytes.

    Args:
        reactor: the reactor.
        client: connected.
        peer: the other end.
        out: where remarks and other people's messages go.
    """

    def __init__(self, reactor: Any, client: Client, peer: str, out: Output) -> None:
        self._reactor = reactor
        self._client = client
        self._peer = peer
        self._out = out
        self._invites = client.peer > peer
        self._mine = secrets.token_hex(8)
        self._theirs: str | None = None
        self._tunnel: tunnel.Tunnel | None = None
        self.pipe: Deferred[Pipe] = Deferred()
        """Fires once, with the channel or with the reason why there is none."""

    def begin(self) -> None:
        """Say hello; if nobody is there, wait for the other end to say it."""
        self._send("hello", self._mine).addErrback(self._nobody)

    def _nobody(self, failure: Failed) -> None:
        error = failure.value
        if isinstance(error, Refused) and error.code == "offline":
            self._out.note(f"waiting for {self._peer}, who has to give --ephemeral too")
        else:
            self._fail(failure)

    async def hear(self) -> None:
        """Take what comes, for as long as it comes."""
        async for message in self._client.listen():
            head, _, rest = message.body.partition(b"\n")
            if message.sender == self._peer and head.startswith(MAGIC):
                kind, _, argument = head[len(MAGIC) :].decode("ascii", "replace").partition(" ")
                await self._heard(kind, argument, rest)
            else:
                say_message(self._out, message, "{who}, outside this talk: {body}")

    async def _heard(self, kind: str, argument: str, rest: bytes) -> None:
        if kind == "hello" and argument != self._theirs:
            await self._met(argument)
        elif self._theirs is None or argument != self._tag:
            return
        elif kind == "invite" and not self._invites and self._tunnel is None:
            self._open(
                await tunnel.accept(
                    rest.decode("ascii", "replace"), self._carry, reactor=self._reactor
                )
            )
        elif kind == "data" and self._tunnel is not None:
            self._tunnel.feed(rest)

    async def _met(self, nonce: str) -> None:
        """The other end has appeared, or appeared anew."""
        self._theirs = nonce
        if self._tunnel is not None:
            old, self._tunnel = self._tunnel, None
            old.close()
        self._send("hello", self._mine).addErrback(self._nobody)
        if self._invites:
            host = await tunnel.invite(self._carry, reactor=self._reactor)
            self._open(host)
            self._send("invite", self._tag, host.invitation.encode()).addErrback(self._gone)

    @property
    def _tag(self) -> str:
        nonces = (self._mine, str(self._theirs))
        return ".".join(nonces if self._invites else reversed(nonces))

    def _open(self, end: tunnel.Tunnel) -> None:
        self._tunnel = end
        end.pipe.addCallbacks(self._established, lambda failure: self._broken(end, failure))

    def _established(self, pipe: Pipe) -> None:
        if not self.pipe.called:
            self.pipe.callback(pipe)

    def _broken(self, end: tunnel.Tunnel, failure: Failed) -> None:
        if end is self._tunnel:  # one that was replaced has nothing to say
            self._fail(failure)

    def _fail(self, failure: Failed) -> None:
        failure.trap(SecureRelayError)
        if not self.pipe.called:
            self.pipe.errback(failure)

    # -- frames

    def _send(self, kind: str, argument: str, rest: bytes = b"") -> Deferred[Sent]:
        frame = MAGIC + f"{kind} {argument}\n".encode("ascii") + rest
        # What has no lifetime is sealed and written to no disk.
        return self._client.send(self._peer, frame, ttl=0, timeout=TIMEOUT, content_type=TYPE)

    def _carry(self, data: bytes) -> None:
        self._send("data", self._tag, data).addErrback(self._gone)

    def _gone(self, failure: Failed) -> None:
        """What the channel needs did not arrive: there is no channel any more."""
        self._fail(failure)
        self.close()

    def tick(self) -> None:
        """Let the channel change old keys."""
        if self._tunnel is not None:
            self._tunnel.tick()

    def close(self) -> None:
        """Drop the channel and everything that knows its keys."""
        if self._tunnel is not None:
            end, self._tunnel = self._tunnel, None
            end.close()


async def talk_in_private(
    reactor: Any, client: Client, peer: str, source: Input, out: Output
) -> None:
    """Carry lines both ways inside a channel of its own, until either end closes it.

    Args:
        reactor: the reactor.
        client: connected.
        peer: the other end, which does the same.
        source: our lines.
        out: where theirs are shown.

    Raises:
        Failure: ``lost`` if the other end went without a word.
        SecureRelayError: if there is no channel.
    """
    if client.peer == peer:
        raise Failure("usage", "you cannot talk with yourself in private")
    meeting = Meeting(reactor, client, peer, out)
    ticking = LoopingCall(meeting.tick)
    ticking.clock = reactor
    ticking.start(TICK, now=False)

    async def converse() -> None:
        meeting.begin()
        pipe = await meeting.pipe
        record = {"private": True, "with": peer, "fingerprint": pipe.fingerprint}
        out.say(record, "private talk with {with}; compare: {fingerprint}")
        try:
            await first(reactor, _speak(pipe, source), _show(pipe, peer, out))
        finally:
            await pipe.close().addTimeout(GOODBYE, reactor, onTimeoutCancel=lambda *_: None)
        out.note("the talk has ended; its keys are forgotten at both ends")

    try:
        await first(reactor, converse(), meeting.hear())
    finally:
        ticking.stop()
        meeting.close()
        gc.collect()  # what held the keys may hold itself; it goes now, not at some time later


async def _speak(pipe: Pipe, source: Input) -> None:
    while (line := await source.line()) is not None and line.strip() != LEAVE:
        await pipe.write(line + b"\n")


async def _show(pipe: Pipe, peer: str, out: Output) -> None:
    held = bytearray()
    async for chunk in pipe:
        held += chunk
        *lines, rest = held.split(b"\n")
        held = bytearray(rest)
        if len(held) > LONGEST:
            raise Failure("too-large", f"{peer} sends a line without end")
        for line in lines:
            record = {"from": peer, "private": True, "text": line.decode("utf-8", "replace")}
            out.say(record, "{from}: {body}", body=Block(bytes(line)))
