"""The key log's leaves and signed heads: what a relay says for ever about whom it vouched for.

The relay writes them, clients hold it to them; :mod:`securerelay.crypto.merkle` has the tree.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import rsa

from securerelay import names
from securerelay.crypto import contexts, merkle, primitives
from securerelay.errors import RemoteError
from securerelay.protocol.items import Field, Form, encode_item, exactly, number, u64

_KIND, _TIME, _NAME, _SPKI, _CERTIFICATE = range(0x01, 0x06)
_LEAF_FORM = Form(
    {
        _KIND: exactly(1),
        _TIME: number(),
        _NAME: Field(1, names.MAX_LENGTH),
        _SPKI: exactly(32),
        _CERTIFICATE: exactly(32),
    }
)
_RELAY_ID, _SIZE, _ROOT, _HEAD_TIME = range(0x01, 0x05)
_SIGNATURE = 0x1F
_HEAD_FORM = Form(
    {
        _RELAY_ID: exactly(32),
        _SIZE: number(),
        _ROOT: exactly(merkle.HASH_SIZE),
        _HEAD_TIME: number(),
        _SIGNATURE: Field(256, 512),
    },
    signature=_SIGNATURE,
)


class Kind(enum.IntEnum):
    """What a leaf tells."""

    ISSUED = 1
    REVOKED = 2
    CLOSED = 3


@dataclass(frozen=True, slots=True)
class Leaf:
    """One entry of the log.

    Args:
        kind: what happened.
        time: when, Unix ms.
        name: to which peer.
        spki_sha256: of its key; of the last one if the name was closed.
        certificate_sha256: of its certificate; likewise.
    """

    kind: Kind
    time: int
    name: str
    spki_sha256: bytes
    certificate_sha256: bytes

    def encode(self) -> bytes:
        """Return the leaf as it is hashed."""
        return _LEAF_FORM.write(
            {
                _KIND: bytes((self.kind,)),
                _TIME: u64(self.time),
                _NAME: self.name.encode("ascii"),
                _SPKI: self.spki_sha256,
                _CERTIFICATE: self.certificate_sha256,
            }
        )

    def hash(self) -> bytes:
        """Return its hash in the tree, 32 bytes."""
        return merkle.leaf_hash(self.encode())

    @classmethod
    def read(cls, data: bytes) -> Leaf:
        """Read a leaf.

        Raises:
            RemoteError: ``bad-items``.
        """
        items = _LEAF_FORM.read(data)
        name = items.values[_NAME]
        kind = items.values[_KIND][0]
        if kind not in tuple(Kind) or not names.is_peer(name):
            raise RemoteError("bad-items", "a leaf of unknown kind or name")
        return cls(
            Kind(kind),
            items.number(_TIME),
            name.decode("ascii"),
            items.values[_SPKI],
            items.values[_CERTIFICATE],
        )


@dataclass(frozen=True, slots=True)
class Head:
    """What the relay signs: at that time the log had so many leaves and this root.

    Args:
        raw: as it was signed.
        relay_id: 32 bytes.
        size: leaves.
        root: 32 bytes.
        time: Unix ms.
        signed: what the relay signed.
        signature: the relay's.
    """

    raw: bytes
    relay_id: bytes
    size: int
    root: bytes
    time: int
    signed: bytes
    signature: bytes

    def signed_by(self, key: rsa.RSAPublicKey) -> bool:
        """Tell whether a relay's key signed it."""
        digest = primitives.sha384(self.signed)
        return primitives.verify_pss(key, contexts.E2E_LOG_HEAD, digest, self.signature)


def unsigned_head(relay_id: bytes, size: int, root: bytes, time: int) -> bytes:
    """Return a head up to its signature.

    The relay signs the SHA-384 of it under the context ``E2E_LOG_HEAD``, most often in a thread.

    Args:
        relay_id: 32 bytes.
        size: leaves.
        root: 32 bytes.
        time: Unix ms.
    """
    return _HEAD_FORM.write(
        {_RELAY_ID: relay_id, _SIZE: u64(size), _ROOT: root, _HEAD_TIME: u64(time)}
    )


def finish_head(unsigned: bytes, signature: bytes) -> bytes:
    """Return a head with its signature."""
    return unsigned + encode_item(_SIGNATURE, signature)


def sign_head(key: rsa.RSAPrivateKey, relay_id: bytes, size: int, root: bytes, time: int) -> bytes:
    """Return a signed head; the arguments are those of :func:`unsigned_head`."""
    unsigned = unsigned_head(relay_id, size, root, time)
    digest = primitives.sha384(unsigned)
    return finish_head(unsigned, primitives.sign_pss(key, contexts.E2E_LOG_HEAD, digest))


def read_head(raw: bytes) -> Head:
    """Read a head; whether the relay signed it is another question.

    Raises:
        RemoteError: ``bad-items``.
    """
    items = _HEAD_FORM.read(raw)
    values = items.values
    return Head(
        raw,
        values[_RELAY_ID],
        items.number(_SIZE),
        values[_ROOT],
        items.number(_HEAD_TIME),
        items.signed,
        values[_SIGNATURE],
    )
