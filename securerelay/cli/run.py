"""Runs a verb's coroutine under Twisted's reactor, and comes back with its result."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, TypeVar

from securerelay.cli.exits import Interrupted

T = TypeVar("T")

GRACE = 3.0
"""Seconds that a verb has to say goodbye after a signal."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(work: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine until it is done; once in a process, as the reactor wants it.

    A signal cancels it, so that it can close its connection in order; a second one ends it at once.

    Args:
        work: an ``async def`` that takes the reactor and awaits Deferreds.

    Returns:
        What it returned.

    Raises:
        Interrupted: if a signal ended it.
        BaseException: whatever it raised.
    """
    from twisted.internet import reactor as installed
    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    reactor: Any = installed
    begun: list[Deferred[T]] = []
    outcome: list[T | Failure] = []
    caught: list[int] = []

    def finish(result: T | Failure) -> None:
        outcome.append(result)
        if reactor.running:
            reactor.stop()

    def stop() -> None:
        if reactor.running:
            reactor.stop()

    def interrupted(number: int) -> None:
        caught.append(number)
        if len(caught) == 1 and not begun[0].called:
            reactor.callLater(GRACE, stop)
            begun[0].cancel()
        else:
            stop()

    def received(number: int, frame: FrameType | None) -> None:
        # In the reactor's next turn, that is after begin(), however long the verb takes to start.
        reactor.callFromThread(interrupted, number)

    def take_signals() -> None:
        for number in SIGNALS:
            signal.signal(number, received)

    def begin() -> None:
        take_signals()  # once more: the reactor has taken some of them for itself
        begun.append(Deferred.fromCoroutine(work(reactor)))
        begun[0].addBoth(finish)

    _log_only_bugs()
    take_signals()
    reactor.callWhenRunning(begin)
    reactor.run()
    if caught or not outcome:
        raise Interrupted(caught[0] if caught else signal.SIGTERM)
    result = outcome[0]
    if isinstance(result, Failure):
        result.raiseException()
    return result


def _log_only_bugs() -> None:
    """Keep Twisted's log off the terminal, but for failures that nobody took care of."""
    from twisted.logger import (
        FilteringLogObserver,
        LogLevel,
        LogLevelFilterPredicate,
        globalLogBeginner,
        textFileLogObserver,
    )

    observer = FilteringLogObserver(
        textFileLogObserver(sys.stderr), [LogLevelFilterPredicate(LogLevel.critical)]
    )
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False, discardBuffer=True)
