"""HPKE (RFC 9180) with one suite: MLKEM768_X25519, HKDF-SHA256, AES-256-GCM, base mode, one shot.

There is no associated data: what a ciphertext belongs to goes into ``info``.  Nobody is
authenticated either; who wrote something is told by a signature inside.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519

PUBLIC_SIZE = 1216
"""ML-KEM-768 encapsulation key (1184 bytes), then X25519 (32)."""
PRIVATE_SIZE = 96
"""ML-KEM-768 seed (64 bytes), then X25519 (32)."""
OVERHEAD = 1136
"""Bytes that sealing adds: ML-KEM ciphertext (1088), X25519 (32), tag (16)."""

_EK_SIZE = 1184
_SEED_SIZE = 64
_SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
# Any X25519 private key gives all zeros, which the library refuses, with a point of low order.
_PROBE = x25519.X25519PrivateKey.from_private_bytes(bytes(range(32)))

PublicKey = hpke.MLKEM768X25519PublicKey
PrivateKey = hpke.MLKEM768X25519PrivateKey


def generate() -> bytes:
    """Return a new private key, 96 bytes."""
    return (
        mlkem.MLKEM768PrivateKey.generate().private_bytes_raw()
        + x25519.X25519PrivateKey.generate().private_bytes_raw()
    )


def load_private(private: bytes) -> tuple[PrivateKey, bytes]:
    """Return a private key ready for use, which takes longer than opening with it.

    Args:
        private: 96 bytes.

    Returns:
        The key, and its public half (1216 bytes).

    Raises:
        ValueError: if there are not so many bytes.
    """
    seed, scalar = _split(private, PRIVATE_SIZE, _SEED_SIZE)
    decapsulation = mlkem.MLKEM768PrivateKey.from_seed_bytes(seed)
    exchange = x25519.X25519PrivateKey.from_private_bytes(scalar)
    public = decapsulation.public_key().public_bytes_raw()
    public += exchange.public_key().public_bytes_raw()
    return PrivateKey(decapsulation, exchange), public


def load_public(public: bytes) -> PublicKey:
    """Return a public key ready for use.

    Raises:
        ValueError: unless there are 1216 bytes which are a valid ML-KEM key (FIPS 203 section 7.2)
            and an X25519 point that is not of low order (RFC 7748 section 6.1).
    """
    ek, point = _split(public, PUBLIC_SIZE, _EK_SIZE)
    exchange = x25519.X25519PublicKey.from_public_bytes(point)
    _PROBE.exchange(exchange)
    return PublicKey(mlkem.MLKEM768PublicKey.from_public_bytes(ek), exchange)


def seal(key: PublicKey, info: bytes, plaintext: bytes) -> bytes:
    """Encrypt to a public key; the result is :data:`OVERHEAD` bytes longer than the plaintext."""
    return _SUITE.encrypt(plaintext, key, info=info)


def unseal(key: PrivateKey, info: bytes, ciphertext: bytes) -> bytes | None:
    """Decrypt what :func:`seal` made; None if it does not open."""
    try:
        return _SUITE.decrypt(ciphertext, key, info=info)
    except InvalidTag:
        return None


def _split(key: bytes, size: int, at: int) -> tuple[bytes, bytes]:
    if len(key) != size:
        raise ValueError(f"an HPKE key of {len(key)} bytes, not {size}")
    return key[:at], key[at:]
