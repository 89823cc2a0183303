"""Who may connect, how often, and how much: what keeps a flood from becoming an outage.

Nothing here knows sockets or the reactor: every class is given a clock, so that the tests move time
by hand. A *source* is what one stranger can hardly have two of: an IPv4 address, the first 64 bits
of an IPv6 address, or ``unix`` for everything that comes over a local socket.
"""

from __future__ import annotations

import functools
import ipaddress
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from securerelay.relay.config import Limits

UNIX = "unix"
"""The source of every connection over a Unix socket: local, and never penalised."""

PENALTY_SECONDS = {"timeout": 10.0, "failed": 5.0, "protocol": 5.0, "busy": 1.0}
"""What one offence adds to a source's penalty, in seconds."""


@functools.lru_cache(maxsize=1024)
def source_of(host: str | None) -> str:
    """Reduce an address to the source that is counted and penalised.

    Args:
        host: the text of an IP address as Twisted gives it (an IPv6 scope may follow), or None for
            a Unix socket.

    Returns:
        An IPv4 address, an IPv6 prefix such as ``2001:db8:1:2::/64``, or :data:`UNIX`.
    """
    if host is None:
        return UNIX
    if host.count(".") == 3 and host.replace(".", "").isdecimal():
        return host  # IPv4, which floods come in, as the operating system writes it
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return UNIX
    if isinstance(address, ipaddress.IPv6Address):
        # A dual-stack socket shows IPv4 clients as mapped addresses: one person, one source.
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return f"{ipaddress.IPv6Address(int(address) >> 64 << 64)}/64"
    return str(address)


class TokenBucket:
    """So much a second, with a burst saved up while nothing happens.

    Args:
        rate: tokens that come in a second.
        burst: how many can be saved at most.
        seconds: a monotonic clock.
    """

    __slots__ = ("_burst", "_level", "_rate", "_seconds", "_stamp")

    def __init__(self, rate: float, burst: float, seconds: Callable[[], float] = time.monotonic):
        self._rate = rate
        self._burst = burst
        self._seconds = seconds
        self._level = burst
        self._stamp = seconds()

    def take(self, n: float = 1) -> float:
        """Take tokens, if there are enough.

        More than a whole burst may be taken at once when the bucket is full: it then owes the
        difference, so that a single large thing passes and its rate holds all the same.

        Args:
            n: how many.

        Returns:
            0.0 when they were taken; otherwise nothing was, and they can be had after so many
            seconds.
        """
        now = self._seconds()
        level = self._level + (now - self._stamp) * self._rate
        if level > self._burst:
            level = self._burst
        self._stamp = now
        wanted = n if n < self._burst else self._burst
        if level >= wanted:
            self._level = level - n
            return 0.0
        self._level = level
        return (wanted - level) / self._rate

    def owe(self, n: float) -> None:
        """Charge what has already been used; the level may fall below nothing."""
        self.take(0)
        self._level -= n

    def change(self, rate: float, burst: float) -> None:
        """Go on with another rate and burst; what is saved up stays, as far as it fits."""
        self.take(0)
        self._rate = rate
        self._burst = burst
        self._level = min(self._level, burst)


class CpuShare:
    """The part of one core that handshakes of strangers may use.

    What is spent is charged after the fact, and while the account is overdrawn new handshakes wait.
    It saves up one second's share, so that a burst of honest reconnections passes at full speed.

    Args:
        percent: of one core.
        seconds: a monotonic clock.
        cpu_seconds: the CPU time of the calling thread.
    """

    def __init__(
        self,
        percent: float,
        seconds: Callable[[], float] = time.monotonic,
        cpu_seconds: Callable[[], float] = time.thread_time,
    ):
        self._bucket = TokenBucket(percent / 100, percent / 100, seconds)
        self._cpu_seconds = cpu_seconds

    def wait(self) -> float:
        """Tell how long the next handshake must wait.

        Returns:
            0.0 if it may go on now, else seconds.
        """
        return self._bucket.take(0)

    def charge(self, cpu_seconds: float) -> None:
        """Account for CPU time that was measured elsewhere, in a signing thread for one."""
        self._bucket.owe(cpu_seconds)

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Charge what the body uses of the calling thread's CPU."""
        begun = self._cpu_seconds()
        try:
            yield
        finally:
            self._bucket.owe(self._cpu_seconds() - begun)

    def change(self, percent: float) -> None:
        """Go on with another share."""
        self._bucket.change(percent / 100, percent / 100)


@dataclass(slots=True)
class Penalty:
    """What a source has to sit out.

    Attributes:
        until: monotonic seconds.
        acting: whether it grew to where connections are refused; below that it only accrues and
            fades.
    """

    until: float
    acting: bool = False


class Stranger(Protocol):
    """A connection that has not authenticated."""

    def give_way(self) -> None:
        """Close without a word; :meth:`Gate.left` was called for it."""


class Gate:
    """Decides which new connections get as far as a handshake.

    Every connection for which :meth:`arrived` said yes must be told later by exactly one of
    :meth:`authenticated` (it is a peer's now and does not count any more) and :meth:`left` (it
    ended before), unless it was told to give way.

    Args:
        limits: how many, and how long penalties are.
        seconds: a monotonic clock.
        random: numbers from 0 to 1 for the random early drop.

    Attributes:
        unauthenticated: connections that have a place now.
        handshakes: those that became a peer's, ever.
        refusals: those that got no place or lost it, by reason: ``penalty``, ``source`` (its places
            were taken), ``full`` (all were), ``gave-way`` and ``share`` (of the processor).
        failures: handshakes that failed, by the code that ended them.
    """

    def __init__(
        self,
        limits: Limits,
        seconds: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random.random,
    ):
        self.limits = limits
        self._seconds = seconds
        self._random = random
        self._waiting: Counter[str] = Counter()
        self._silent: dict[Stranger, str] = {}
        self._penalties: dict[str, Penalty] = {}
        self.cpu = CpuShare(limits.handshake_cpu_percent, seconds)
        self.unauthenticated = 0
        self.handshakes = 0
        self.refusals: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()

    @property
    def refused(self) -> int:
        """How many connections got no handshake, for whatever reason."""
        return self.refusals.total()

    def change(self, limits: Limits) -> None:
        """Go on with other limits; connections and penalties that exist stay."""
        self.limits = limits
        self.cpu.change(limits.handshake_cpu_percent)

    def arrived(self, source: str, stranger: Stranger | None = None) -> bool:
        """Admit or refuse a connection that was just accepted.

        Above half of all places the one that has longest said nothing of sense gives way: who knows
        the relay needs only moments to show it, and a flood cannot shut it out by holding places.
        When all have shown it, newcomers are refused at random, the more the fuller it is.

        Args:
            source: from :func:`source_of`.
            stranger: the connection, if it can give way until :meth:`knocked`.

        Returns:
            True if it may go on; on False close it without a word.
        """
        reason = self._refuses(source)
        if reason is None:
            self._waiting[source] += 1
            self.unauthenticated += 1
            if stranger is not None:
                self._silent[stranger] = source
            return True
        self.refusals[reason] += 1
        return False

    def _refuses(self, source: str) -> str | None:
        """Return the reason why a newcomer gets no place, None if it gets one."""
        limits = self.limits
        if self.penalty(source) > 0:
            return "penalty"
        if source != UNIX and self._waiting[source] >= limits.unauthenticated_per_source:
            return "source"
        half = limits.unauthenticated // 2
        if self.unauthenticated < half:
            return None
        if self._silent:
            oldest, place = next(iter(self._silent.items()))
            self.left(place, oldest)
            self.refusals["gave-way"] += 1
            oldest.give_way()
            return None
        if self.unauthenticated >= limits.unauthenticated:
            return "full"
        fullness = (self.unauthenticated - half) / (limits.unauthenticated - half)
        return None if self._random() >= fullness else "full"

    def knocked(self, stranger: Stranger) -> None:
        """A connection has shown that it knows the relay; it keeps its place."""
        self._silent.pop(stranger, None)

    def authenticated(self, source: str, stranger: Stranger | None = None) -> None:
        """A connection from there has become a peer's session."""
        self.handshakes += 1
        self.left(source, stranger)

    def left(self, source: str, stranger: Stranger | None = None) -> None:
        """A connection from there has ended without becoming a session."""
        if stranger is not None:
            self._silent.pop(stranger, None)
        self._forget(source)

    def _forget(self, source: str) -> None:
        self.unauthenticated -= 1
        self._waiting[source] -= 1
        if self._waiting[source] <= 0:
            del self._waiting[source]

    def penalise(self, source: str, kind: str) -> bool:
        """Add to a source's penalty.

        Args:
            source: from :func:`source_of`; local sockets are never penalised.
            kind: a key of :data:`PENALTY_SECONDS`.

        Returns:
            True if the source is refused from now on, and was not before.
        """
        if source == UNIX:
            return False
        limits, now = self.limits, self._seconds()
        penalty = self._penalties.pop(source, None)
        if penalty is None or penalty.until <= now:
            penalty = Penalty(now)
        penalty.until = min(
            penalty.until + PENALTY_SECONDS[kind], now + limits.penalty_longest_seconds
        )
        acts = not penalty.acting and penalty.until - now >= limits.penalty_acts_from_seconds
        penalty.acting |= acts
        # The newest goes to the end: what a full table drops has been quiet the longest.
        self._penalties[source] = penalty
        if len(self._penalties) > limits.penalty_sources:
            del self._penalties[next(iter(self._penalties))]
        return acts

    def penalty(self, source: str) -> float:
        """Tell how long a source is still refused.

        Returns:
            Seconds; 0.0 if it is not.
        """
        penalty = self._penalties.get(source)
        if penalty is None:
            return 0.0
        left = penalty.until - self._seconds()
        if left <= 0:
            del self._penalties[source]
            return 0.0
        return left if penalty.acting else 0.0

    def penalties(self) -> dict[str, float]:
        """List the sources that are refused now, each with the seconds that are left."""
        now = self._seconds()
        return {
            source: penalty.until - now
            for source, penalty in self._penalties.items()
            if penalty.acting and penalty.until > now
        }

    def penalised(self) -> int:
        """Count the sources that are refused now, which costs less than to list them."""
        now = self._seconds()
        return sum(one.acting and one.until > now for one in self._penalties.values())

    def lift(self, source: str | None = None) -> int:
        """Forget penalties.

        Args:
            source: one source, or None for all of them.

        Returns:
            How many were forgotten.
        """
        if source is not None:
            return 0 if self._penalties.pop(source, None) is None else 1
        count = len(self._penalties)
        self._penalties.clear()
        return count
