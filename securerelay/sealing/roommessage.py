"""Room messages (suite 2): AES-256-GCM under a room key, signed inside by the sender.

Every member has the key; only the signature tells who wrote.
"""

from __future__ import annotations

from collections.abc import Callable

from securerelay.crypto import contexts, primitives
from securerelay.errors import RemoteError
from securerelay.protocol.items import encode_items
from securerelay.protocol.sealed import RoomHeader, read_header
from securerelay.sealing import plaintext
from securerelay.sealing.envelope import Delivery, Opened
from securerelay.sealing.fingerprint import Author, Identity
from securerelay.sealing.plaintext import Content
from securerelay.sealing.roomkey import RoomKey
from securerelay.sealing.verdicts import Rejected, Verdict, require

SALT_SIZE = 32


def binding(header: bytes, key: RoomKey) -> bytes:
    """Return ``info``: what the cipher and the signature bind a room message to."""
    items = encode_items(
        ((0x01, header), (0x02, key.sender), (0x03, key.room_id), (0x04, key.list_hash))
    )
    return contexts.E2E_ROOM + b"\0" + items


def seal(content: Content, author: Author, key: RoomKey, salt: bytes) -> bytes:
    """Return a room message.

    Args:
        content: what to say; ``content.to`` is the room.
        author: who says it.
        key: the author's own.
        salt: 32 random bytes, fresh each time, for the same content too.

    Raises:
        ValueError: for content that the members would refuse, or somebody else's key.
    """
    if (key.sender, key.room) != (author.identity.fp, content.to) or len(salt) != SALT_SIZE:
        raise ValueError("a room key of another sender or room, or a salt of another length")
    header = RoomHeader(author.identity.sender_id, key.id, key.version, salt).encode()
    info = binding(header, key)
    plain = plaintext.write(content, author, contexts.E2E_ROOM_MESSAGE, info)
    cipher, nonce = _cipher(key.secret, salt, info)
    return header + primitives.seal(cipher, nonce, plain, info)


def unseal(
    message: bytes,
    delivery: Delivery,
    find_sender: Callable[[bytes], Identity | None],
    find_key: Callable[[bytes], RoomKey | None],
) -> Opened:
    """Open a room message and check all that it and the relay say.

    Whether its sender is still a member is told by :func:`securerelay.sealing.roomlist.stand`.

    Args:
        message: the body of MSG.
        delivery: the header of MSG.
        find_sender: returns who has a sender id (8 bytes) among the pins of ``delivery.sender``.
        find_key: returns the room key of an id (16 bytes).

    Raises:
        Rejected: ``altered``, ``unchecked``, ``key-missing`` or ``misdirected``.
    """
    header = _read_header(message)
    sender = find_sender(header.sender_id)
    if sender is None:
        raise Rejected(Verdict.UNCHECKED, "no pinned fingerprint begins with the sender id")
    key = find_key(header.key_id)
    if key is None:
        raise Rejected(Verdict.KEY_MISSING, header.key_id.hex())
    require(key.sender == sender.fp, Verdict.ALTERED, "under another member's key")
    require(header.version == key.version, Verdict.ALTERED, "under the key of another version")
    info = binding(message[: RoomHeader.SIZE], key)
    cipher, nonce = _cipher(key.secret, header.salt, info)
    plain = primitives.unseal(cipher, nonce, message[RoomHeader.SIZE :], info)
    if plain is None:
        raise Rejected(Verdict.ALTERED, "does not open")
    content = plaintext.verify(plain, sender, contexts.E2E_ROOM_MESSAGE, info)
    require(sender.name == delivery.sender, Verdict.MISDIRECTED, "the relay names another sender")
    require(content.to == key.room, Verdict.MISDIRECTED, "for another room")
    delivery.check(content)
    return Opened(sender, content)


def _cipher(secret: bytes, salt: bytes, info: bytes) -> tuple[primitives.Aead, bytes]:
    derived = primitives.hkdf256(secret, salt, info, primitives.KEY_SIZE + primitives.NONCE_SIZE)
    return primitives.aead("aes256gcm", derived[: primitives.KEY_SIZE]), derived[
        primitives.KEY_SIZE :
    ]


def _read_header(message: bytes) -> RoomHeader:
    try:
        header = read_header(message)
    except RemoteError as error:
        raise Rejected(Verdict.ALTERED, error.detail) from None
    if not isinstance(header, RoomHeader):
        raise Rejected(Verdict.ALTERED, "an envelope for one peer")
    return header
