"""Places where a test may have this process die: ``SECURERELAY_FAILPOINT=name[:count]``.

A process that runs with this variable kills itself, as ``kill -9`` would, when it reaches the named
place for the ``count``-th time (the first, if none is said).  Without the variable :data:`reach`
does nothing, and no secret or decision ever depends on it.

One place cannot be named here, the middle of a checkpoint, for it lies inside SQLite; but the
database file itself is written to at no other time, so whoever watches it knows.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

VARIABLE = "SECURERELAY_FAILPOINT"

PLACES = {
    "before-commit": "the store wrote a group of changes and did not commit it yet",
    "after-commit": "the store committed a group of changes, and nobody was told",
    "after-commit-before-ok": "messages are in the store, and their senders were not told",
    "after-delivery-before-ack": "a recipient's ACK has come, and nothing was done about it",
    "stream-opened": "a stream was opened in the store, and its sender was not told",
    "tickets-kept": "new tickets are in the store, up to a moment after their WELCOME left",
    "ticket-taken": "a ticket was taken out of the store, and its session does not exist yet",
    "enrolment-committed": "a newcomer is in the directory, and has no certificate yet",
    "revocation-committed": "a name has ended, and its sessions go on",
    "expiry-committed": "messages were removed because of their age, and nobody was told",
}
"""Every place, with what has happened there and what has not."""


def _go_on(place: str) -> None:
    """Pass by."""


reach: Callable[[str], None] = _go_on
"""Called with the name of each place as the process comes to it."""


def arm(setting: str) -> None:
    """Have the process die at a place.

    Args:
        setting: as in the variable; empty for no place at all.

    Raises:
        SystemExit: if there is no such place, for a test that waits for it would show nothing.
    """
    global reach
    name, _, count = setting.partition(":")
    if not setting:
        reach = _go_on
        return
    if name not in PLACES or not (count or "1").isdecimal():
        raise SystemExit(f"securerelay: {VARIABLE}={setting!a}: there is no such place")
    left = int(count or "1")

    def die(place: str) -> None:
        nonlocal left
        if place == name:
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    reach = die


arm(os.environ.get(VARIABLE, ""))
