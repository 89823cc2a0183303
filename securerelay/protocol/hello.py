"""The readable lines: HELLO of both sides, RETRY, ERR, and the knock (SR1 section 3)."""

from __future__ import annotations

import functools
from collections import OrderedDict
from dataclasses import dataclass

from securerelay.crypto import contexts, primitives
from securerelay.errors import RemoteError
from securerelay.protocol import lines

NONCE_SIZE = 32
TICKET_SIZE = 16
KNOCK_SIZE = 16
BINDER_SIZE = primitives.HASH_SIZE

ERROR_CODES = frozenset(
    {
        "bad-line",
        "too-long",
        "protocol",
        "no-common-suite",
        "no-common-group",
        "bad-share",
        "timeout",
        "busy",
        "auth-failed",
    }
)
"""What a relay says in the clear."""

_TO = b" to="
_BINDER = b" binder="
_UNKNOWN = "wrong or repeated knock"


@dataclass(frozen=True, slots=True)
class ClientHello:
    """The client's first line, C1 or C1'."""

    line: bytes
    suites: tuple[str, ...]
    groups: tuple[str, ...]
    nonce: bytes
    group: str
    share: bytes
    ticket: bytes | None
    binder: bytes | None

    def unchanged(self, first: ClientHello) -> bool:
        """Tell whether this may follow a RETRY to ``first``: share, knock, binder aside."""
        return (self.suites, self.groups, self.nonce, self.ticket) == (
            first.suites,
            first.groups,
            first.nonce,
            first.ticket,
        )

    def partial(self) -> bytes:
        """Return the line as the binder covers it: cut before the binder."""
        return self.line[: self.line.index(_BINDER)]


@dataclass(frozen=True, slots=True)
class RelayHello:
    """The relay's HELLO, the first line of S1."""

    line: bytes
    suite: str
    nonce: bytes
    group: str
    share: bytes
    resumed: bool


@functools.lru_cache(maxsize=4)
def knock_key(relay_id: bytes) -> bytes:
    """Return the key of knocks (48 bytes) at the relay with this id (32 bytes)."""
    return primitives.sha384(contexts.KNOCK, relay_id)


def knock(key: bytes, before: bytes) -> bytes:
    """Return the knock (16 bytes) over a C1 line up to and without " to="."""
    return primitives.hmac384(key, before)[:KNOCK_SIZE]


class KnockMemory:
    """Remembers recent knocks, so that one that was overheard opens nothing.

    Args:
        capacity: how many at most; the oldest goes first.
        lifetime: for how long, in seconds.
    """

    __slots__ = ("_capacity", "_lifetime", "_seen")

    def __init__(self, capacity: int = 65_536, lifetime: float = 600.0) -> None:
        self._capacity = capacity
        self._lifetime = lifetime
        self._seen: OrderedDict[bytes, float] = OrderedDict()

    def first(self, value: bytes, now: float) -> bool:
        """Tell whether a valid knock is new, and remember it.

        Args:
            value: the knock.
            now: seconds on a clock that never goes back.
        """
        seen = self._seen
        while seen and next(iter(seen.values())) <= now - self._lifetime:
            seen.popitem(last=False)
        if value in seen:
            return False
        seen[value] = now
        if len(seen) > self._capacity:
            seen.popitem(last=False)
        return True

    def __len__(self) -> int:
        return len(self._seen)


def write_client_hello(
    key: bytes,
    suites: tuple[str, ...],
    groups: tuple[str, ...],
    nonce: bytes,
    group: str,
    share: bytes,
    ticket: bytes | None,
) -> bytes:
    """Return a C1 line, without its LF and without a binder.

    Args:
        key: the knock key.
        suites: AEADs by preference.
        groups: permitted groups by preference.
        nonce: 32 bytes.
        group: of the share.
        share: what :meth:`Offer.share` holds.
        ticket: a ticket's id, 16 bytes, or None.
    """
    words = [
        "suites=" + ",".join(suites),
        "groups=" + ",".join(groups),
        "nonce=" + lines.encode(nonce),
        f"share={group}:{lines.encode(share)}",
    ]
    if ticket is not None:
        words.append("ticket=" + lines.encode(ticket))
    before = lines.line("HELLO", words)[:-1]
    return before + _TO + lines.encode(knock(key, before)).encode("ascii")


def add_binder(line: bytes, binder: bytes) -> bytes:
    """Return a C1 line with its binder (48 bytes)."""
    return line + _BINDER + lines.encode(binder).encode("ascii")


def check_knock(line: bytes, key: bytes) -> bytes:
    """Check the knock of C1, which nobody can make who does not know the relay.

    Args:
        line: without its LF.
        key: the knock key.

    Returns:
        The knock as the line has it.

    Raises:
        RemoteError: ``bad-line`` or ``protocol``.
    """
    if lines.verb_of(line) != b"HELLO":
        raise RemoteError("protocol", "HELLO belongs here")
    before, _, after = line.partition(_TO)
    claimed = after.partition(b" ")[0]
    # Each knock is written in one form alone, so the forms can be compared.
    if not primitives.equal(claimed, lines.encode(knock(key, before)).encode("ascii")):
        raise RemoteError("bad-line", _UNKNOWN)
    return claimed


def read_client_hello(line: bytes, key: bytes, knocks: KnockMemory, now: float) -> ClientHello:
    """Read C1, the knock before all else.

    Args:
        line: without its LF.
        key: the knock key.
        knocks: the recent ones; the new one is remembered there.
        now: seconds on a clock that never goes back.

    Raises:
        RemoteError: ``bad-line`` or ``protocol``.
    """
    if not knocks.first(check_knock(line, key), now):
        raise RemoteError("bad-line", _UNKNOWN)
    words = lines.fields(line, "suites", "groups", "nonce", "share", "ticket?", "to", "binder?")
    if ("ticket" in words) != ("binder" in words):
        raise RemoteError("bad-line", "ticket and binder go together")
    group, share = lines.decode_share(words["share"])
    return ClientHello(
        line,
        lines.decode_list(words["suites"]),
        lines.decode_list(words["groups"]),
        lines.decode(words["nonce"], NONCE_SIZE),
        group,
        share,
        lines.decode(words["ticket"], TICKET_SIZE) if "ticket" in words else None,
        lines.decode(words["binder"], BINDER_SIZE) if "binder" in words else None,
    )


def write_relay_hello(suite: str, nonce: bytes, group: str, share: bytes, resumed: bool) -> bytes:
    """Return the relay's HELLO, without its LF."""
    words = [
        "suite=" + suite,
        "nonce=" + lines.encode(nonce),
        f"share={group}:{lines.encode(share)}",
    ]
    if resumed:
        words.append("resumed=yes")
    return lines.line("HELLO", words)[:-1]


def read_relay_hello(line: bytes) -> RelayHello:
    """Read the relay's HELLO.

    Raises:
        RemoteError: ``bad-line``.
    """
    words = lines.fields(line, "suite", "nonce", "share", "resumed?")
    if words.get("resumed", "yes") != "yes":
        raise RemoteError("bad-line", "resumed=yes or nothing")
    group, share = lines.decode_share(words["share"])
    nonce = lines.decode(words["nonce"], NONCE_SIZE)
    return RelayHello(line, words["suite"], nonce, group, share, "resumed" in words)


def write_retry(group: str) -> bytes:
    """Return a RETRY line, without its LF."""
    return lines.line("RETRY", [f"group={group}"])[:-1]


def read_retry(line: bytes) -> str:
    """Return the group that a RETRY asks for."""
    return lines.fields(line, "group")["group"]


def write_error(code: str) -> bytes:
    """Return an ERR line with its LF."""
    return lines.line("ERR", [f"code={code}"])


def read_error(line: bytes) -> str:
    """Return the code of an ERR line.

    Raises:
        RemoteError: ``bad-line`` if it has another form, or a code that is said inside a session
            alone: nobody on the way can tell a client that it was revoked.
    """
    code = lines.fields(line, "code")["code"]
    if code not in ERROR_CODES:
        raise RemoteError("bad-line", "not an error code")
    return code
