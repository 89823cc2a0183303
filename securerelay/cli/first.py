"""Waits for the first of several things to end, as in a talk that either side may end."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure


async def first(clock: IReactorTime, *works: Coroutine[Any, Any, None]) -> None:
    """Run coroutines side by side until one ends; the others are cancelled and waited for.

    Args:
        clock: the reactor. What follows happens in its next turn, since one of the coroutines may
            end in the midst of another, which could not be cancelled then.
        works: at least one.

    Raises:
        BaseException: what the first to end raised.
    """
    ended: Deferred[None] = Deferred()
    outcomes: list[Failure | None] = []

    def note(outcome: Failure | None) -> None:
        outcomes.append(outcome)
        if len(outcomes) == 1:
            clock.callLater(0, ended.callback, None)

    running = [Deferred.fromCoroutine(work).addBoth(note) for work in works]
    try:
        await ended
    finally:
        for work in running:
            work.cancel()
        for work in running:
            await work
    if isinstance(outcomes[0], Failure) and not outcomes[0].check(CancelledError):
        outcomes[0].raiseException()
