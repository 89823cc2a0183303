"""What goes into the relay's handshake, what comes out, and the steps between (SR1 section 3).

A step is what :class:`securerelay.protocol.responder.Responder` wants next; the connection does it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from securerelay.crypto import primitives
from securerelay.crypto.groups import DEFAULT_GROUPS
from securerelay.protocol.hello import KnockMemory
from securerelay.protocol.schedule import SessionSecrets


class PeerIdentity(Protocol):
    """What a peer's certificate says, once its CA's signature and its profile are checked."""

    @property
    def name(self) -> str:
        """The peer's name."""

    @property
    def spki(self) -> bytes:
        """The peer's public key, SubjectPublicKeyInfo in DER."""


@dataclass(frozen=True, slots=True, repr=False)
class Resumption:
    """What the relay kept with a ticket."""

    psk: bytes
    name: str
    peer_spki: bytes
    auth_time: int
    certificate_sha256: bytes


@dataclass(frozen=True, slots=True, repr=False)
class NewTicket:
    """A ticket to be: its id goes to the client, SHA-256 of the id and the PSK into the store."""

    id: bytes
    psk: bytes


@dataclass(frozen=True, slots=True)
class Authenticated:
    """A peer that proved who it is; dates and revocation are not looked at yet.

    ``certificate`` is DER, empty when resumed; ``auth_time`` is Unix ms, None for now.
    """

    name: str
    certificate: bytes
    certificate_sha256: bytes
    peer_spki: bytes
    resumed: bool
    auth_time: int | None
    session_id: bytes
    suite: str
    group: str
    tickets: tuple[NewTicket, ...]


@dataclass(frozen=True, slots=True)
class EnrolmentRequest:
    """A newcomer that proved to have the invitation and the new key."""

    token: bytes
    name: str
    spki: bytes
    session_id: bytes


@dataclass(slots=True)
class RelayConfig:
    """What a relay brings into every handshake.

    Args:
        relay_id: 32 bytes.
        ca_spki: the CA's SubjectPublicKeyInfo in DER, whose SHA-256 is the relay id.
        certificate: the relay's own, DER.
        check_peer: reads a peer's certificate strictly but for its dates; raises CertificateError.
        knocks: the knocks of the last minutes, shared by all connections.
        suites: permitted AEADs by preference.
        groups: permitted groups by preference.
        tickets: how many a session gets.
    """

    relay_id: bytes
    ca_spki: bytes
    certificate: bytes
    check_peer: Callable[[bytes], PeerIdentity]
    knocks: KnockMemory
    suites: tuple[str, ...] = primitives.SUITES
    groups: tuple[str, ...] = DEFAULT_GROUPS
    tickets: int = 2


@dataclass(frozen=True, slots=True)
class Write:
    """Send this and wait for the next line."""

    data: bytes


@dataclass(frozen=True, slots=True)
class FindTicket:
    """Ask the store for a ticket; ``verify`` checks the binder where it is deleted."""

    ticket_id: bytes
    verify: Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Sign:
    """Have a transcript hash signed with the relay's key."""

    context: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class FindInvitation:
    """Ask the store for an invitation's public key."""

    token: bytes


@dataclass(frozen=True, slots=True, repr=False)
class Complete:
    """Every proof of the handshake holds; records follow under these secrets."""

    peer: Authenticated | EnrolmentRequest
    secrets: SessionSecrets
    suite: str
    group: str
    session_id: bytes


Step = Write | FindTicket | Sign | FindInvitation | Complete
