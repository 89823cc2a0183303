"""Members who left a room by themselves, or ended: who signs its list takes them off.

The relay brings them nothing from that moment on; the signed list still names them, and keys go to
them, until there is the next.  The relay alone says who left.  It could say so of anybody, and
would gain no more than by bringing that one nothing; so members are told.
"""

from __future__ import annotations

import typing
from collections.abc import Collection

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from securerelay.client.calls import Event
from securerelay.client.sealing.notices import LEFT_ROOM, Notices
from securerelay.client.sealing.roomlists import Lists
from securerelay.client.sealing.roomowner import Ownership
from securerelay.errors import SecureRelayError

PATIENCE = 60.0
"""Seconds that admins leave to the owner, so that not all of them sign the same list."""
SETTLED = 5.0
"""Seconds after which a program that connected looks who left meanwhile."""


class Leavers:
    """Looks after lists that name somebody who left.

    Args:
        me: our own name.
        lists: the newest lists.
        owner: signs the next.
        notices: tells the user.
        clock: the reactor.
    """

    _log = Logger()

    def __init__(
        self, me: str, lists: Lists, owner: Ownership, notices: Notices, clock: IReactorTime
    ) -> None:
        self._me = me
        self._lists = lists
        self._owner = owner
        self._notices = notices
        self._clock = clock
        self._timers: dict[str, IDelayedCall] = {}

    def connected(self) -> None:
        """Look in a while who left rooms of ours while we were away."""
        self._later("", SETTLED)

    def close(self) -> None:
        """Look no more."""
        while self._timers:
            self._timers.popitem()[1].cancel()

    def heard(self, event: Event) -> None:
        """Take an event that says who is in a room no more."""
        name, left = event.data.get("room"), event.data.get("left")
        if isinstance(name, str) and isinstance(left, list) and left:
            self._do(self._left(name, left))

    async def _left(self, name: str, left: Collection[typing.Any]) -> None:
        if self._me in left or await self._lists.load(name) is None:
            return
        # Whom a newer list does not name did not leave, but was removed by it.
        one = await self._lists.current(name)
        gone = [peer for peer in one.members if peer in left]
        for peer in gone:
            self._notices.show(LEFT_ROOM, peer, room=name)
        if gone and self._owner.signs(one):
            self._later(name, 0.0 if one.owner == one.members[self._me] else PATIENCE)

    def _later(self, name: str, seconds: float) -> None:
        if name not in self._timers:
            self._timers[name] = self._clock.callLater(seconds, self._look, name)

    def _look(self, name: str) -> None:
        del self._timers[name]
        self._do(self._owner.settle(name) if name else self._settle_all())

    async def _settle_all(self) -> None:
        for name in (await self._lists.names()).values():
            one = await self._lists.load(name)
            if one is not None and self._owner.signs(one):
                await self._owner.settle(name)

    def _do(self, work: typing.Coroutine[typing.Any, typing.Any, None]) -> None:
        Deferred.fromCoroutine(work).addErrback(self._failed)

    def _failed(self, failure: typing.Any) -> None:
        failure.trap(SecureRelayError)
        self._log.info("a list stays as it is: {error}", error=failure.value)
