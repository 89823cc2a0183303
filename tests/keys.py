"""RSA keys for tests: they take long to make, so each is made once in a run and shared."""

from __future__ import annotations

import datetime
import functools

from cryptography.hazmat.primitives.asymmetric import rsa

from securerelay.crypto import primitives
from securerelay.identity.authority import Authority

NOW = datetime.datetime(2030, 1, 1, 12, tzinfo=datetime.timezone.utc)
"""A moment for tests whose clock stands still."""

_keys: dict[tuple[int, int], rsa.RSAPrivateKey] = {}


def rsa_key(bits: int = 2048, index: int = 0) -> rsa.RSAPrivateKey:
    """Return a key of so many bits; another index gives another key."""
    if (bits, index) not in _keys:
        _keys[bits, index] = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    return _keys[bits, index]


def spki(bits: int = 2048, index: int = 0) -> bytes:
    """Return the public half of :func:`rsa_key`, SubjectPublicKeyInfo in DER."""
    return primitives.spki(rsa_key(bits, index).public_key())


@functools.cache
def authority(index: int = 0, now: datetime.datetime = NOW) -> Authority:
    """Return an authority, with a smaller key than real ones; another index gives another."""
    return Authority.from_key(rsa_key(2048, 100 + index), now)
