"""Successions: an old identity key says which fingerprint follows it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

from cryptography.hazmat.primitives.asymmetric import rsa

from securerelay.crypto import contexts, primitives
from securerelay.protocol.items import HEADER, Field, Form, encode_item, exactly, number, u64
from securerelay.sealing.fingerprint import (
    FP_SIZE,
    MESSAGE_KEY_SIZE,
    Identity,
    sign_as_identity,
)
from securerelay.sealing.verdicts import Verdict, read, require

MOST = 4
"""Successions in a bundle."""
MAX_SIZE = MOST * 1600

_OLD_SPKI, _OLD_MESSAGE_KEY, _NEW_FP, _TIME, _SIGNATURE = range(0x01, 0x06)
_FORM = Form(
    {
        _OLD_SPKI: Field(1, 1024),
        _OLD_MESSAGE_KEY: exactly(MESSAGE_KEY_SIZE),
        _NEW_FP: exactly(FP_SIZE),
        _TIME: number(),
        _SIGNATURE: Field(256, 512),
    },
    signature=_SIGNATURE,
)


@dataclass(frozen=True, slots=True)
class Succession:
    """One step from an old identity to the next.

    Args:
        old: who it was.
        new_fp: the fingerprint that follows.
        time: when, Unix ms.
        signed: what the old identity key signed.
        signature: its signature.
    """

    old: Identity
    new_fp: bytes
    time: int
    signed: bytes
    signature: bytes

    def holds(self) -> bool:
        """Tell whether the old identity key signed it."""
        return self.old.signed_as_identity(contexts.E2E_SUCCESSION, self.signed, self.signature)


def build(key: rsa.RSAPrivateKey, old: Identity, new_fp: bytes, time: int) -> bytes:
    """Return a succession, signed by the old identity.

    Args:
        key: the old identity key.
        old: who it was.
        new_fp: the fingerprint that follows, 32 bytes.
        time: Unix ms.
    """
    unsigned = _FORM.write(
        {
            _OLD_SPKI: old.spki,
            _OLD_MESSAGE_KEY: old.message_key,
            _NEW_FP: new_fp,
            _TIME: u64(time),
        }
    )
    signature = sign_as_identity(key, contexts.E2E_SUCCESSION, unsigned)
    return unsigned + encode_item(_SIGNATURE, signature)


def read_all(
    data: bytes, relay_id: bytes, name: str, most: int | None = MOST
) -> tuple[Succession, ...]:
    """Read the successions of a bundle, one after the other; their signatures are not looked at.

    Args:
        data: the value of the bundle's item.
        relay_id: the bundle's.
        name: the bundle's.
        most: how many there may be; None for any number.

    Raises:
        Rejected: ``bundle-bad`` if they are not well formed or too many.
    """
    parts = split(data)
    require(most is None or len(parts) <= most, Verdict.BUNDLE_BAD, f"{len(parts)} successions")
    return tuple(_read(part, relay_id, name) for part in parts)


def follow(
    successions: Sequence[Succession], start: bytes, end: bytes, revoked: Collection[bytes]
) -> bool:
    """Tell whether signed successions lead from one fingerprint to another.

    The first successor of a fingerprint wins, and a revoked key has none.

    Args:
        successions: oldest first.
        start: the fingerprint to begin with.
        end: the one to arrive at.
        revoked: SHA-256 of the SubjectPublicKeyInfo of keys known as revoked.
    """
    current = start
    for one in successions:
        if one.old.fp == current:
            if primitives.sha256(one.old.spki) in revoked or not one.holds():
                return False
            current = one.new_fp
    return current == end != start


def split(data: bytes) -> list[bytes]:
    """Cut successions that follow each other: where the type of the first item comes again."""
    starts = []
    position = 0
    while position < len(data):
        if position == 0 or data[position] == _OLD_SPKI:
            starts.append(position)
        position += HEADER + int.from_bytes(data[position + 1 : position + HEADER], "big")
    return [data[start:end] for start, end in pairwise((*starts, len(data)))]


def _read(data: bytes, relay_id: bytes, name: str) -> Succession:
    items = read(_FORM, data, Verdict.BUNDLE_BAD)
    values = items.values
    old = Identity(relay_id, name, values[_OLD_SPKI], values[_OLD_MESSAGE_KEY])
    return Succession(old, values[_NEW_FP], items.number(_TIME), items.signed, values[_SIGNATURE])
