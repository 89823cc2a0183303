"""Waiting with a deadline, and what to say when it is over."""

from __future__ import annotations

import typing
from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from securerelay.client.entry import Fate
from securerelay.errors import LocalError

T = typing.TypeVar("T")


def within(
    waiting: Deferred[T], seconds: float | None, clock: IReactorTime, say: Callable[[], LocalError]
) -> Deferred[T]:
    """Give a Deferred a deadline.

    Args:
        waiting: what to wait for; it is cancelled when the time is over.
        seconds: how long; None for as long as it takes.
        clock: the reactor.
        say: makes the error with which it then fails.
    """
    if seconds is None or waiting.called:
        return waiting

    def late(result: object, _: float) -> typing.NoReturn:
        if isinstance(result, Failure) and result.check(CancelledError):
            raise say()
        raise AssertionError("only a cancelled wait is late")

    return waiting.addTimeout(seconds, clock, onTimeoutCancel=late)


def words_for(fate: Fate, to: str) -> str:
    """Say what is known of a message that was waited for in vain.

    Args:
        fate: what became of it so far.
        to: the recipient.
    """
    return {
        "unsent": "there was no connection in time; the message was not sent",
        "sent": "the relay did not answer in time; the message may still arrive",
        "queued": "the relay did not answer in time; the message stays in the outbox and leaves "
        "when it can",
        "accepted": f"{to} did not acknowledge the message in time; the relay has it, and it may "
        "still arrive",
    }[fate]
