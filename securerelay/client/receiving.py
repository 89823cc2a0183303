"""How an application receives: one message after the other, each acknowledged by asking on."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from securerelay.client.inbox import Inbox, Message
from securerelay.client.waiting import within
from securerelay.errors import TimedOut


class Messages:
    """Messages as they come: ``async for message in client.listen()``.

    Asking for the next message acknowledges the one before; one that is never followed by that
    question, nor by ``await message.ack()``, stays with the relay and comes again.
    """

    def __init__(self, inbox: Inbox, clock: IReactorTime) -> None:
        self._inbox = inbox
        self._clock = clock
        self._handed: Message | None = None

    def next(self, timeout: float | None = None) -> Deferred[Message]:
        """Return the next message and acknowledge the one before.

        Args:
            timeout: seconds to wait for it; None for as long as it takes.

        Raises:
            TimedOut: through the Deferred, if none came.
            Refused: ``replaced``, if another session of this peer listens now.
        """
        if self._handed is not None:
            handed, self._handed = self._handed, None
            self._inbox.acknowledge(handed.n)
        waiting = within(
            self._inbox.next(), timeout, self._clock, lambda: TimedOut("no message came in time")
        )
        return waiting.addCallback(self._hand)

    def _hand(self, message: Message) -> Message:
        self._handed = message
        return message

    def __aiter__(self) -> Messages:
        return self

    async def __anext__(self) -> Message:
        return await self.next()
