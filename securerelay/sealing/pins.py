"""Pins: whom a name meant when it was first seen, and what has to happen for that to change.

Pins decide, not the authority.  Everything here takes a pin and returns the next one.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass, replace

from securerelay.sealing import succession
from securerelay.sealing.bundle import Bundle
from securerelay.sealing.fingerprint import Identity
from securerelay.sealing.verdicts import Rejected, Verdict, require

OLD_KEYS_OPEN = 16 * 86_400_000
"""Milliseconds for which messages of a fingerprint that was followed by another still open."""

MOST_FORMER = 16
"""Former identities of a contact that are remembered."""


class Level(enum.Enum):
    """How much is known about a contact."""

    SEEN = "seen"
    VERIFIED = "verified"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Former:
    """Who a contact was before its key was followed by another.

    Args:
        identity: the old one.
        until: up to when its messages open, Unix ms.
    """

    identity: Identity
    until: int


@dataclass(frozen=True, slots=True)
class Pin:
    """What is held on to about a contact.

    Args:
        identity: relay, name, fingerprint and both keys.
        level: how much is known.
        number: the highest bundle number seen or told.
        former: who it was before, newest first.
        blocked: whom the relay offered in its place, without a succession; while there is somebody,
            nothing is sealed.
    """

    identity: Identity
    level: Level
    number: int
    former: tuple[Former, ...] = ()
    blocked: Identity | None = None

    @property
    def fp(self) -> bytes:
        """The pinned fingerprint, 32 bytes."""
        return self.identity.fp


def first_sight(bundle: Bundle, listed: bytes | None = None) -> Pin:
    """Pin somebody unknown so far.

    Args:
        bundle: read; expired or not.
        listed: the fingerprint that a room's list has for the name; None outside of rooms.

    Raises:
        Rejected: ``member-key-differs`` if it is another one.
    """
    require(
        listed is None or bundle.identity.fp == listed,
        Verdict.MEMBER_KEY_DIFFERS,
        "the room lists another fingerprint than the bundle has",
    )
    return Pin(bundle.identity, Level.SEEN, bundle.number)


def meet(
    pin: Pin, bundle: Bundle, revoked: Collection[bytes], now: int
) -> tuple[Pin, Verdict | None]:
    """Hold a bundle that was read against the pin.

    Args:
        pin: of the name that was asked for.
        bundle: read; expired or not.
        revoked: SHA-256 of the SubjectPublicKeyInfo of keys known as revoked.
        now: Unix ms.

    Returns:
        The next pin, and ``key-followed`` or ``key-changed`` if that is to be shown. With the
        latter the pin is blocked.

    Raises:
        Rejected: ``bundle-rollback`` for the keys from before a succession.
    """
    offered = bundle.identity
    if (offered.relay_id, offered.name) != (pin.identity.relay_id, pin.identity.name):
        raise ValueError("a bundle of somebody else")
    if offered.fp == pin.fp:
        return replace(pin, blocked=None), None
    if any(offered.fp == one.identity.fp for one in pin.former):
        raise Rejected(Verdict.BUNDLE_ROLLBACK, "a fingerprint that was followed by another")
    if not succession.follow(bundle.successions, pin.fp, offered.fp, revoked):
        return replace(pin, blocked=offered), Verdict.KEY_CHANGED
    level = Level.SEEN if pin.level is Level.SEEN else Level.CHANGED
    former = (Former(pin.identity, now + OLD_KEYS_OPEN), *pin.former)
    if len(former) > MOST_FORMER:
        # The first one stays: what its owner sent is counted under it for ever.
        former = (*former[: MOST_FORMER - 1], former[-1])
    return Pin(offered, level, bundle.number, former), Verdict.KEY_FOLLOWED


def hear(pin: Pin, number: int) -> Pin:
    """Note the bundle number that a verified message told."""
    return replace(pin, number=max(pin.number, number))


def verify(pin: Pin) -> Pin:
    """Note that its owner's fingerprint was compared."""
    return replace(pin, level=Level.VERIFIED)


def accept_new_key(pin: Pin) -> Pin:
    """Take the identity that was blocked, because the user says so; nobody has compared it yet.

    The old fingerprint is given up at once: nobody vouched for the new one with its key.

    Raises:
        ValueError: if nothing is blocked.
    """
    if pin.blocked is None:
        raise ValueError("no new key is waiting to be accepted")
    return Pin(pin.blocked, Level.SEEN, 0)


def require_unblocked(pin: Pin) -> None:
    """Refuse to seal while another identity is offered for the name.

    Raises:
        Rejected: ``key-changed``.
    """
    require(pin.blocked is None, Verdict.KEY_CHANGED, "another fingerprint is offered")


def sender(pin: Pin, sender_id: bytes, now: int) -> Identity | None:
    """Return the identity of a contact that an envelope's sender id means.

    Args:
        pin: of the peer that the relay names as the sender.
        sender_id: 8 bytes.
        now: Unix ms.

    Returns:
        The pinned identity, or a former one that still opens; None if it is neither.
    """
    if pin.identity.sender_id == sender_id:
        return pin.identity
    for former in pin.former:
        if former.identity.sender_id == sender_id and now < former.until:
            return former.identity
    return None
