"""Who we were: the identities of this profile whose keys were followed by others."""

from __future__ import annotations

from securerelay.crypto import primitives
from securerelay.errors import ProfileError
from securerelay.identity import switching
from securerelay.identity.profile import Profile
from securerelay.sealing import succession
from securerelay.sealing.fingerprint import Identity
from securerelay.sealing.succession import Succession
from securerelay.sealing.verdicts import Rejected


def identity(profile: Profile) -> Identity:
    """Return ourselves, as contacts pin us; the profile's key has been had."""
    spki = primitives.spki(profile.key().public_key())
    return of(profile, spki, profile.sealing_keys().seed)


def of(profile: Profile, spki: bytes, seed: bytes) -> Identity:
    """Return ourselves with some keys.

    Args:
        profile: whose relay and name.
        spki: of the identity key, SubjectPublicKeyInfo in DER.
        seed: of the message key, 32 bytes.
    """
    return Identity(profile.relay_id, profile.name, spki, primitives.ed25519_public(seed))


def former(profile: Profile) -> tuple[Succession, ...]:
    """Return what our former identities said, the oldest first.

    Raises:
        ProfileError: if the file is damaged.
    """
    told = switching.successions(profile.path)
    try:
        return succession.read_all(told, profile.relay_id, profile.name, most=None)
    except Rejected:
        path = profile.path / switching.SUCCESSIONS
        raise ProfileError(f"{path} is damaged: restore a backup") from None


def keys(profile: Profile) -> set[bytes]:
    """Return the SHA-256 of all keys that were, are or wait to be ours (SubjectPublicKeyInfo)."""
    ours = {profile.peer.spki, *(one.old.spki for one in former(profile))}
    waiting = switching.waiting(profile.path)
    return set(map(primitives.sha256, ours | ({waiting} if waiting is not None else set())))
