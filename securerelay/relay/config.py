"""What a relay can be told: every setting with its default and its bounds.

Each section of the configuration file is one frozen dataclass here, each key one field with a check
in its metadata; :mod:`securerelay.relay.configfile` reads files by walking these classes. So a
setting exists in one place, and what is not here is refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from securerelay.relay.checks import (
    Allowed,
    Choice,
    Choices,
    Endpoints,
    Flag,
    HostPort,
    Hosts,
    Names,
    Number,
    PathText,
    PeerName,
    Text,
)

MIB = 1 << 20
DAY = 86_400

SUITES = ("aes256gcm", "chacha20poly1305")
GROUPS = ("x25519mlkem768", "x25519", "ffdhe3072", "rsa3072-oaep")


def default_data_folder() -> Path:
    """Find where a relay keeps its data when nobody says.

    Returns:
        ``$STATE_DIRECTORY`` under systemd, else ``/var/lib/securerelay`` for root, else the XDG
        data folder.
    """
    state = os.environ.get("STATE_DIRECTORY")
    if state:
        return Path(state.partition(":")[0])
    if os.geteuid() == 0:
        return Path("/var/lib/securerelay")
    base = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return Path(base) / "securerelay"


def _number(default: int, least: int, most: int) -> Any:
    return field(default=default, metadata={"check": Number(least, most)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Handshake:
    """What may be negotiated, best first (SR1 section 3)."""

    suites: tuple[str, ...] = field(default=SUITES, metadata={"check": Choices(SUITES)})
    groups: tuple[str, ...] = field(default=GROUPS[:1], metadata={"check": Choices(GROUPS)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Passphrase:
    """Where the passphrase of the authority's key comes from: at most one place, or none."""

    file: Path | None = field(default=None, metadata={"check": PathText()})
    environment: str | None = field(default=None, metadata={"check": Text()})
    credential: str | None = field(default=None, metadata={"check": Text()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Endpoints inside TLS with a certificate of the relay's own authority."""

    listen: tuple[str, ...] = field(default=(), metadata={"check": Endpoints()})
    names: tuple[str, ...] = field(default=(), metadata={"check": Hosts()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """How long certificates last, in days."""

    peer_days: int = _number(30, 1, 30)
    relay_days: int = _number(90, 7, 90)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """How long other things last, in seconds."""

    invitation: int = _number(DAY, 60, 30 * DAY)
    ticket: int = _number(DAY, 0, DAY)
    mail: int = _number(7 * DAY, 1, 29 * DAY)
    mail_longest: int = _number(29 * DAY, 1, 29 * DAY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one connection, one stranger and one mailbox may use."""

    first_byte_seconds: int = _number(5, 1, 60)
    handshake_seconds: int = _number(10, 1, 60)
    unauthenticated: int = _number(512, 2, 65_536)
    unauthenticated_per_source: int = _number(16, 1, 65_536)
    penalty_acts_from_seconds: int = _number(15, 1, 600)
    penalty_longest_seconds: int = _number(600, 1, 86_400)
    penalty_sources: int = _number(65_536, 1, 1 << 20)
    handshake_cpu_percent: int = _number(40, 1, 100)
    message_bytes: int = _number(MIB, 1024, 64 * MIB)
    window_messages: int = _number(1024, 1, 65_536)
    window_bytes: int = _number(4 * MIB, 65_536, 256 * MIB)
    buffer_pause_bytes: int = _number(MIB, 65_536, 256 * MIB)
    buffer_abort_bytes: int = _number(8 * MIB, 65_536, 1024 * MIB)
    stalled_seconds: int = _number(30, 1, 600)
    mailbox_messages: int = _number(10_000, 1, 10_000_000)
    mailbox_bytes: int = _number(256 * MIB, 65_536, 1 << 40)
    mailbox_sender_percent: int = _number(10, 1, 100)
    drain_seconds: int = _number(10, 1, 60)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerLimits:
    """What one enrolled peer may use; ``[peers.NAME]`` sets it for one of them."""

    messages_per_second: int = _number(2_000, 1, 10_000_000)
    messages_burst: int = _number(10_000, 1, 10_000_000)
    bytes_per_second: int = _number(16 * MIB, 1024, 1 << 40)
    calls_per_second: int = _number(50, 1, 100_000)
    sessions: int = _number(4, 1, 1024)
    rooms: int = _number(64, 0, 65_536)


EVERYONE = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Who may do what. A name without an entry of its own goes by the entry ``*``.

    Attributes:
        invite: the peers that may invite others; ``*`` for all of them.
        see: for a peer (or ``*``), whom it finds in ``peer.list`` and ``peer.watch``.
        send: for a peer (or ``*``), to which peers and rooms it may send.
        require_sealed: whether messages must be sealed.
        plain: the peers that may send and be sent plain ones all the same, and the rooms that take
            them.
    """

    invite: frozenset[str] = field(default=frozenset(), metadata={"check": Names()})
    see: Mapping[str, frozenset[str]] = field(
        default_factory=lambda: {EVERYONE: frozenset({EVERYONE})}, metadata={"check": Allowed()}
    )
    send: Mapping[str, frozenset[str]] = field(
        default_factory=lambda: {EVERYONE: frozenset({EVERYONE})},
        metadata={"check": Allowed(rooms=True)},
    )
    require_sealed: bool = field(default=True, metadata={"check": Flag()})
    plain: frozenset[str] = field(
        default=frozenset({"@everyone"}), metadata={"check": Names(rooms=True)}
    )

    def may_invite(self, name: str, roles: Collection[str] = ()) -> bool:
        """Tell whether a peer may invite newcomers, by this policy or by a role of its own."""
        return name in self.invite or EVERYONE in self.invite or "invite" in roles

    def may_see(self, name: str, other: str) -> bool:
        """Tell whether a peer may learn that another exists and is connected."""
        return name == other or _permits(self.see, name, other)

    def may_send(self, name: str, to: str) -> bool:
        """Tell whether a peer may send to another."""
        return _permits(self.send, name, to)

    def must_seal(self, name: str, to: str) -> bool:
        """Tell whether what a peer sends to a peer or room must be sealed."""
        return self.require_sealed and self.plain.isdisjoint((name, to, EVERYONE))


def _permits(table: Mapping[str, frozenset[str]], name: str, other: str) -> bool:
    allowed = table.get(name)
    if allowed is None:
        allowed = table.get(EVERYONE, frozenset())
    return other in allowed or EVERYONE in allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomRules:
    """What rooms may be.

    Attributes:
        everyone: the peers that may send to ``@everyone``, ``*`` for all of them; without any there
            is no such room.
        members: how many a room may have.
        lists: how many signed lists of its members are kept, the newest and those that were
            followed within 16 days.
    """

    everyone: frozenset[str] = field(default=frozenset(), metadata={"check": Names()})
    members: int = _number(300, 1, 10_000)
    lists: int = _number(512, 1, 65_536)


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """What the log looks like and how much one source can fill of it."""

    format: str = field(default="text", metadata={"check": Choice(("text", "json"))})
    lines_per_second: int = _number(20, 1, 100_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Where numbers for Prometheus are served; nowhere by default."""

    listen: tuple[str, ...] = field(default=(), metadata={"check": Endpoints()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything a relay can be told.

    Attributes:
        listen: Twisted endpoint strings.
        data: the folder that holds the authority, the relay's identity and the database.
        name: the relay's name in its certificate.
        advertise: ``host:port`` for invitations, or None to guess.
        peer: what every peer may use, unless ``peers`` names it.
        peers: what single peers may use.
    """

    listen: tuple[str, ...] = field(default=("tcp:3000",), metadata={"check": Endpoints()})
    data: Path = field(default_factory=default_data_folder, metadata={"check": PathText()})
    name: str = field(default="relay", metadata={"check": PeerName()})
    advertise: str | None = field(default=None, metadata={"check": HostPort()})
    handshake: Handshake = field(default_factory=Handshake)
    passphrase: Passphrase = field(default_factory=Passphrase)
    tls: Tls = field(default_factory=Tls)
    certificates: Certificates = field(default_factory=Certificates)
    lifetimes: Lifetimes = field(default_factory=Lifetimes)
    limits: Limits = field(default_factory=Limits)
    peer: PeerLimits = field(default_factory=PeerLimits)
    peers: Mapping[str, PeerLimits] = field(
        default_factory=dict, metadata={"each": PeerLimits, "like": "peer"}
    )
    policy: Policy = field(default_factory=Policy)
    rooms: RoomRules = field(default_factory=RoomRules)
    log: Log = field(default_factory=Log)
    metrics: Metrics = field(default_factory=Metrics)

    def limits_of(self, name: str) -> PeerLimits:
        """Return what one peer may use."""
        return self.peers.get(name, self.peer)

    def replace(self, **changes: Any) -> Config:
        """Return a configuration with some of its fields changed."""
        return replace(self, **changes)


RULES: tuple[tuple[tuple[str, ...], Callable[[Config], bool], str], ...] = (
    (
        ("passphrase",),
        lambda c: (
            [c.passphrase.file, c.passphrase.environment, c.passphrase.credential].count(None) >= 2
        ),
        "give one of file, environment and credential, not several",
    ),
    (
        ("limits", "first_byte_seconds"),
        lambda c: c.limits.first_byte_seconds <= c.limits.handshake_seconds,
        "must not be above limits.handshake_seconds",
    ),
    (
        ("limits", "penalty_acts_from_seconds"),
        lambda c: c.limits.penalty_acts_from_seconds <= c.limits.penalty_longest_seconds,
        "must not be above limits.penalty_longest_seconds",
    ),
    (
        ("limits", "buffer_pause_bytes"),
        lambda c: c.limits.buffer_pause_bytes <= c.limits.buffer_abort_bytes,
        "must not be above limits.buffer_abort_bytes",
    ),
    (
        ("limits", "message_bytes"),
        lambda c: c.limits.message_bytes * 2 <= c.limits.buffer_abort_bytes,
        "must not be above half of limits.buffer_abort_bytes, or a message could cut a connection",
    ),
    (
        ("limits", "message_bytes"),
        lambda c: c.limits.message_bytes <= c.limits.mailbox_bytes,
        "must not be above limits.mailbox_bytes",
    ),
    (
        ("lifetimes", "mail"),
        lambda c: c.lifetimes.mail <= c.lifetimes.mail_longest,
        "must not be above lifetimes.mail_longest",
    ),
)
"""What single checks cannot see: where, what must hold, and what to say if it does not."""


def load(path: Path | str) -> Config:
    """Read a configuration file.

    Args:
        path: a TOML file.

    Returns:
        The configuration, with defaults for whatever the file leaves out.

    Raises:
        ConfigError: if it cannot be read or anything in it is unknown, of a wrong type or out of
            bounds; the message begins with ``file:line:``.
    """
    from securerelay.relay.configfile import read

    return read(Path(path), Config, RULES)
