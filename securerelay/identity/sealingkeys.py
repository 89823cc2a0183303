"""The secrets with which a profile seals, at rest: sealed under a key that the peer's key gives.

So they are under the same passphrase as that key, if there is one, and move and go with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import rsa

from securerelay.crypto import contexts, primitives
from securerelay.identity import keyfile


@dataclass(frozen=True, slots=True)
class SealingKeys:
    """What a profile has besides its identity key.

    Args:
        seed: of the message key (Ed25519), 32 bytes; it lives and ends with the identity key.
        data_key: what secrets in the profile's database are wrapped under, 32 bytes.
        once: what names the streams of messages that are sent once, 48 bytes, if that is not the
            identity key but the first of those that it followed.
    """

    seed: bytes = field(repr=False)
    data_key: bytes = field(repr=False)
    once: bytes = field(default=b"", repr=False)

    @classmethod
    def generate(cls) -> SealingKeys:
        """Return new ones."""
        size = primitives.KEY_SIZE
        return cls(primitives.random_bytes(size), primitives.random_bytes(size))


def seal(keys: SealingKeys, key: rsa.RSAPrivateKey) -> bytes:
    """Seal the keys for a file.

    Args:
        keys: what to keep.
        key: the peer's.

    Returns:
        A random nonce (12 bytes) and the ciphertext.
    """
    nonce = primitives.random_bytes(primitives.NONCE_SIZE)
    content = keys.seed + keys.data_key + keys.once
    return nonce + primitives.seal(_cipher(key), nonce, content, contexts.PROFILE_SEALING)


def unseal(data: bytes, key: rsa.RSAPrivateKey) -> SealingKeys:
    """Read what :func:`seal` made.

    Raises:
        ValueError: if it was made with another key, or is damaged.
    """
    nonce, sealed = data[: primitives.NONCE_SIZE], data[primitives.NONCE_SIZE :]
    content = primitives.unseal(_cipher(key), nonce, sealed, contexts.PROFILE_SEALING)
    if content is None:
        raise ValueError("the keys are sealed with another key")
    size = primitives.KEY_SIZE
    return SealingKeys(content[:size], content[size : 2 * size], content[2 * size :])


def once_secret(key: rsa.RSAPrivateKey) -> bytes:
    """Return what names the streams of messages that are sent once.

    It follows from the peer's private key, so it is the same wherever the profile is.

    Args:
        key: the first that the profile had.

    Returns:
        48 bytes.
    """
    secret = primitives.hkdf_extract(bytes(primitives.HASH_SIZE), keyfile.to_der(key))
    return primitives.hkdf_expand(secret, contexts.PROFILE_ONCE, primitives.HASH_SIZE)


def _cipher(key: rsa.RSAPrivateKey) -> primitives.Aead:
    secret = primitives.hkdf_extract(bytes(primitives.HASH_SIZE), keyfile.to_der(key))
    return primitives.aead(
        "aes256gcm", primitives.hkdf_expand(secret, contexts.PROFILE_SEALING, primitives.KEY_SIZE)
    )
