"""Who somebody is: a fingerprint over relay, name and both keys, and how people compare two.

A fingerprint binds everything it is made of, so whoever compared it has compared all of it.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import rsa

from securerelay.crypto import contexts, primitives
from securerelay.protocol.items import encode_items

FP_SIZE = 32
SENDER_ID_SIZE = 8
MESSAGE_KEY_SIZE = 32
SIGNATURE_SIZE = 64

_GROUPS = 12
_QR_PREFIX = "securerelay:verify/1#"


def fingerprint(relay_id: bytes, name: str, spki: bytes, message_key: bytes) -> bytes:
    """Return the fingerprint ``fp``, 32 bytes.

    Args:
        relay_id: 32 bytes.
        name: the peer's name.
        spki: its identity key, SubjectPublicKeyInfo in DER.
        message_key: its Ed25519 key, 32 bytes.
    """
    items = encode_items(
        ((0x01, relay_id), (0x02, name.encode("ascii")), (0x03, spki), (0x04, message_key))
    )
    return primitives.sha256(contexts.E2E_FINGERPRINT, b"\0", items)


@dataclass(frozen=True, slots=True)
class Identity:
    """The public half of somebody.

    Args:
        relay_id: 32 bytes.
        name: the peer's name.
        spki: its identity key, SubjectPublicKeyInfo in DER.
        message_key: its Ed25519 key, 32 bytes.

    Attributes:
        fp: the fingerprint, 32 bytes.
    """

    relay_id: bytes
    name: str
    spki: bytes
    message_key: bytes
    fp: bytes = field(init=False)

    def __post_init__(self) -> None:
        fp = fingerprint(self.relay_id, self.name, self.spki, self.message_key)
        object.__setattr__(self, "fp", fp)

    @property
    def sender_id(self) -> bytes:
        """The first bytes of the fingerprint, by which an envelope names its sender."""
        return self.fp[:SENDER_ID_SIZE]

    def signed(self, context: bytes, content: bytes, signature: bytes) -> bool:
        """Tell whether this peer's message key signed something."""
        return primitives.verify_ed25519(
            self.message_key, context, primitives.sha384(content), signature
        )

    def signed_as_identity(self, context: bytes, content: bytes, signature: bytes) -> bool:
        """Tell whether this peer's identity key signed something."""
        key = primitives.load_rsa_spki(self.spki)
        return key is not None and primitives.verify_pss(
            key, context, primitives.sha384(content), signature
        )


class Author:
    """Somebody who signs: an identity with its private message key.

    Args:
        identity: the public half.
        seed: the Ed25519 seed, 32 bytes.

    Raises:
        ValueError: if the seed belongs to another key.
    """

    __slots__ = ("_key", "identity")

    def __init__(self, identity: Identity, seed: bytes) -> None:
        if primitives.ed25519_public(seed) != identity.message_key:
            raise ValueError("the seed belongs to another message key")
        self.identity = identity
        self._key = primitives.load_ed25519(seed)

    def sign(self, context: bytes, content: bytes) -> bytes:
        """Sign with the message key, 64 bytes."""
        return primitives.sign_ed25519(self._key, context, primitives.sha384(content))


def sign_as_identity(key: rsa.RSAPrivateKey, context: bytes, content: bytes) -> bytes:
    """Sign with an identity key: ``sig(identity, context, content)``."""
    return primitives.sign_pss(key, context, primitives.sha384(content))


def safety_number(one: bytes, other: bytes) -> str:
    """Return the number that two people read to each other; the same for both.

    Args:
        one: a fingerprint, 32 bytes.
        other: the other's.

    Returns:
        Twelve groups of five digits with spaces between.
    """
    lower, higher = sorted((one, other))
    digest = hashlib.sha512(contexts.E2E_SAFETY_NUMBER + b"\0" + lower + higher).digest()
    parts = (digest[5 * group : 5 * group + 5] for group in range(_GROUPS))
    return " ".join(f"{int.from_bytes(part, 'big') % 100_000:05d}" for part in parts)


def qr_text(own: bytes, other: bytes) -> str:
    """Return what one's own QR code says to the person whose pin is being verified.

    Args:
        own: the fingerprint of who shows the code.
        other: the one of who scans it, as the shower has it.
    """
    return _QR_PREFIX + base64.urlsafe_b64encode(own + other).rstrip(b"=").decode("ascii")


def qr_matches(scanned: str, own: bytes, other: bytes) -> bool:
    """Tell whether a scanned code is that of the other one, made for us; compared whole."""
    expected = qr_text(other, own)
    return primitives.equal(scanned.encode("utf-8", "surrogatepass"), expected.encode("ascii"))
