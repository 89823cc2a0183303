"""A peer in use: somebody who is connected, or whom somebody sends to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from securerelay.relay.config import PeerLimits
from securerelay.relay.limits import TokenBucket

if TYPE_CHECKING:
    from securerelay.relay.mailbox import Mailbox
    from securerelay.relay.router import Router
    from securerelay.relay.session import Session
    from securerelay.relay.stream import Stream

HANDFUL = 64
HANDFUL_BYTES = 64 * 1024


class Allowance:
    """What a peer may send; drawn by the handful, for asking the clock costs more than a message.

    Args:
        limits: so many messages and bytes a second.
        seconds: a monotonic clock.
    """

    __slots__ = (
        "_burst",
        "_burst_bytes",
        "_bytes",
        "_handful",
        "_handful_bytes",
        "_left",
        "_left_bytes",
        "_messages",
    )

    def __init__(self, limits: PeerLimits, seconds: Callable[[], float]) -> None:
        rate, burst, octets = (
            limits.messages_per_second,
            limits.messages_burst,
            limits.bytes_per_second,
        )
        self._messages = TokenBucket(rate, burst, seconds)
        self._bytes = TokenBucket(octets, octets, seconds)
        self._handful = max(1, min(HANDFUL, burst // 16))
        self._handful_bytes = max(1, min(HANDFUL_BYTES, octets // 16))
        self._burst, self._burst_bytes = burst, octets
        self._left = self._left_bytes = 0

    def give_back(self, size: int, count: int) -> None:
        """Let what was taken for messages of so many bytes be taken again."""
        self._left += count
        self._left_bytes += size

    def take(self, size: int, count: int = 1, many: bool = False) -> bool:
        """Take what may be sent.

        Args:
            size: bytes.
            count: for how many messages it counts.
            many: whether it is several messages, which a whole burst must have room for; a single
                one passes whatever its size, if nothing was taken before.

        Returns:
            False, and nothing is taken, if that is too fast.
        """
        left, left_bytes = self._left - count, self._left_bytes - size
        if left < 0 or left_bytes < 0:
            if many and (-left > self._burst or -left_bytes > self._burst_bytes):
                return False
            if left < 0:
                wanted = max(self._handful, -left)
                if self._messages.take(wanted) > 0.0:
                    return False
                self._left += wanted
            if left_bytes < 0:
                wanted = max(self._handful_bytes, -left_bytes)
                if self._bytes.take(wanted) > 0.0:
                    return False
                self._left_bytes += wanted
            left, left_bytes = self._left - count, self._left_bytes - size
        self._left, self._left_bytes = left, left_bytes
        return True


class Peer:
    """What sessions, streams and mailbox of one name have in common.

    Args:
        router: whose.
        name: as on the wire.
        text: the same as ``str``.
    """

    __slots__ = (
        "_allowance",
        "_calls",
        "_excess",
        "mailbox",
        "name",
        "router",
        "sessions",
        "streams",
        "text",
    )

    def __init__(self, router: Router, name: bytes, text: str) -> None:
        self.router = router
        self.name = name
        self.text = text
        self.sessions: tuple[Session, ...] = ()
        self.streams: dict[bytes, Stream] = {}
        self.mailbox: Mailbox | None = None
        self._allowance: Allowance | None = None
        self._calls: TokenBucket | None = None
        self._excess: TokenBucket | None = None

    @property
    def excess(self) -> TokenBucket:
        """What it sent beyond what it may; owed until it could have sent that."""
        if self._excess is None:
            rate = self._limits().messages_per_second
            self._excess = TokenBucket(rate, max(1.0, rate / 10), self.router.seconds)
        return self._excess

    @property
    def allowance(self) -> Allowance:
        """What it may send, all of its sessions together."""
        if self._allowance is None:
            self._allowance = Allowance(self._limits(), self.router.seconds)
        return self._allowance

    def may_call(self) -> bool:
        """Take one control call from what it may make."""
        if self._calls is None:
            rate = self._limits().calls_per_second
            self._calls = TokenBucket(rate, rate, self.router.seconds)
        return self._calls.take() == 0.0

    def _limits(self) -> PeerLimits:
        return self.router.config.limits_of(self.text)

    def relimit(self) -> None:
        """Go by the configuration as it is now."""
        self._allowance = self._calls = self._excess = None

    @property
    def idle(self) -> bool:
        """Whether nothing would be missed if it were forgotten until it is used again."""
        return (
            not self.sessions and not self.streams and (self.mailbox is None or self.mailbox.idle)
        )
