"""What an envelope shows to anybody: its structure, without opening it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from securerelay.protocol import sealed
from securerelay.protocol.sealed import DirectHeader, RoomHeader


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of an envelope.

    Args:
        offset: where it begins.
        size: its bytes.
        name: what it is called.
        value: what it says, in hexadecimal or as a number; empty for what is encrypted.
        note: what it is there for.
    """

    offset: int
    size: int
    name: str
    value: str
    note: str


def explain(body: bytes) -> tuple[Part, ...]:
    """Take a sealed body apart as far as that goes without keys.

    Args:
        body: as it travels.

    Returns:
        Its parts in order; they cover it without gaps.

    Raises:
        RemoteError: ``unsealed``.
    """
    header = sealed.read_header(body)
    parts = _direct(header, body) if isinstance(header, DirectHeader) else _room(header, body)
    common = (
        (4, "magic", body[:4].decode("ascii"), "a sealed body"),
        (1, "suite", str(body[4]), _SUITE_NOTES[body[4]]),
        (8, "sender id", header.sender_id.hex(), "first 8 bytes of the sender's fingerprint"),
    )
    placed = []
    offset = 0
    for size, name, value, note in (*common, *parts):
        placed.append(Part(offset, size, name, value, note))
        offset += size
    return tuple(placed)


_Row = tuple[int, str, str, str]
_SUITE_NOTES = {
    sealed.DIRECT: "for one peer: HPKE MLKEM768_X25519, HKDF-SHA256, AES-256-GCM; Ed25519 inside",
    sealed.ROOM: "for a room: AES-256-GCM under the sender's room key; Ed25519 inside",
}


def _direct(header: DirectHeader, body: bytes) -> Iterator[_Row]:
    yield 8, "prekey id", header.prekey_id.hex(), "which prekey of the recipient opens it"
    yield 1088, "ML-KEM ciphertext", "", "encapsulated key"
    yield 32, "X25519 share", body[1109:1141].hex(), "the sender's, for this envelope alone"
    yield from _sealed_part(len(body) - DirectHeader.SIZE - 1120)


def _room(header: RoomHeader, body: bytes) -> Iterator[_Row]:
    yield 16, "key id", header.key_id.hex(), "which room key of the sender opens it"
    yield 8, "list version", str(header.version), "the members it was sealed for"
    yield 32, "salt", header.salt.hex(), "random, makes key and nonce of this message"
    yield from _sealed_part(len(body) - RoomHeader.SIZE)


def _sealed_part(size: int) -> Iterator[_Row]:
    yield size - sealed.TAG_SIZE, "ciphertext", "", "items, signature and padding, encrypted"
    yield sealed.TAG_SIZE, "tag", "", "AES-256-GCM"
