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
    """

    seed: bytes = field(repr=False)
    data_key: bytes = field(repr=False)

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
    content = keys.seed + keys.data_key
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
    return SealingKeys(content[: primitives.KEY_SIZE], content[primitives.KEY_SIZE :])


def _cipher(key: rsa.RSAPrivateKey) -> primitives.Aead:
    secret = primitives.hkdf_extract(bytes(primitives.HASH_SIZE), keyfile.to_der(key))
    return primitives.aead(
        "aes256gcm", primitives.hkdf_expand(secret, contexts.PROFILE_SEALING, primitives.KEY_SIZE)
    )
