"""Tickets at rest: sealed under a key that only the peer's private key gives.

So a copy of a profile whose key is under a passphrase cannot resume a session either.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable

from cryptography.hazmat.primitives.asymmetric import rsa

from securerelay.crypto import contexts, primitives
from securerelay.identity import keyfile
from securerelay.protocol.connection import ClientTicket


def seal(tickets: Iterable[ClientTicket], key: rsa.RSAPrivateKey) -> bytes:
    """Seal tickets for a file.

    Args:
        tickets: what to keep.
        key: the peer's.

    Returns:
        A random nonce (12 bytes) and the ciphertext.
    """
    rows = [
        {
            "id": _encode(one.id),
            "psk": _encode(one.psk),
            "expiry": one.expiry,
            "relay_certificate": _encode(one.relay_certificate),
            "relay_spki": _encode(one.relay_spki),
        }
        for one in tickets
    ]
    nonce = primitives.random_bytes(primitives.NONCE_SIZE)
    content = json.dumps(rows).encode()
    return nonce + primitives.seal(_cipher(key), nonce, content, contexts.PROFILE_TICKETS)


def unseal(data: bytes, key: rsa.RSAPrivateKey) -> list[ClientTicket]:
    """Read what :func:`seal` made.

    Raises:
        ValueError: if it was made with another key, or is damaged.
    """
    nonce, sealed = data[: primitives.NONCE_SIZE], data[primitives.NONCE_SIZE :]
    content = primitives.unseal(_cipher(key), nonce, sealed, contexts.PROFILE_TICKETS)
    if content is None:
        raise ValueError("the tickets are sealed with another key")
    return [
        ClientTicket(
            id=base64.b64decode(row["id"]),
            psk=base64.b64decode(row["psk"]),
            expiry=row["expiry"],
            relay_certificate=base64.b64decode(row["relay_certificate"]),
            relay_spki=base64.b64decode(row["relay_spki"]),
        )
        for row in json.loads(content)
    ]


def _cipher(key: rsa.RSAPrivateKey) -> primitives.Aead:
    secret = primitives.hkdf_extract(bytes(primitives.HASH_SIZE), keyfile.to_der(key))
    return primitives.aead(
        "aes256gcm", primitives.hkdf_expand(secret, contexts.PROFILE_TICKETS, primitives.KEY_SIZE)
    )


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()
