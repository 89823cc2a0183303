"""Runs the command of ``listen --exec`` for one message; no shell is involved."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure as TwistedFailure

from securerelay.cli.exits import Failure

if TYPE_CHECKING:
    from securerelay.client import Message


class _Running(ProcessProtocol):
    """A process that gets a body and shares our output."""

    transport: Any

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.done: Deferred[int | None] = Deferred(lambda _: self._stop())

    def connectionMade(self) -> None:
        self.transport.write(self._body)
        self.transport.closeStdin()

    def _stop(self) -> None:
        with contextlib.suppress(ProcessExitedAlready):
            self.transport.signalProcess("TERM")

    def processEnded(self, reason: TwistedFailure) -> None:
        if not self.done.called:
            ended: Any = reason.value
            self.done.callback(0 if reason.check(ProcessDone) else ended.exitCode)


def environment(message: Message, profile: Path) -> dict[str, str]:
    """Make a command's environment: ours, the message's facts, and the profile that it came to.

    Args:
        message: what came.
        profile: the folder, so that a command which answers does so in the same name.

    Returns:
        All variables; names and numbers only, never the body.
    """
    return {
        **os.environ,
        "SECURERELAY_FROM": message.sender,
        "SECURERELAY_TO": message.to,
        "SECURERELAY_TIME": str(message.time),
        "SECURERELAY_N": str(message.n),
        "SECURERELAY_STREAM": message.stream,
        "SECURERELAY_SEQ": str(message.seq),
        "SECURERELAY_ID": f"{message.stream}:{message.seq}",
        "SECURERELAY_PROFILE": str(profile),
    }


async def execute(reactor: Any, words: Sequence[str], message: Message, profile: Path) -> None:
    """Run a command for a message, and wait for it.

    Args:
        reactor: what runs it.
        words: the program's path and its arguments.
        message: its body becomes the standard input.
        profile: the profile's folder.

    Raises:
        Failure: ``exec`` if it ends with another status than 0, or by a signal.
    """
    running = _Running(message.body)
    reactor.spawnProcess(
        running,
        words[0],
        list(words),
        env=environment(message, profile),
        childFDs={0: "w", 1: 1, 2: 2},
    )
    status = await running.done
    if status != 0:
        how = "was killed" if status is None else f"ended with status {status}"
        raise Failure(
            "exec", f"{words[0]} {how}; the message was not acknowledged and will come again"
        )
