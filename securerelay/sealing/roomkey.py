"""Room keys: one of each sender, for one list of members, a day and a thousand messages.

A key goes to every member in a direct envelope, so it is as secret as those, and the sender's
signature in them says whose it is and for which list.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from securerelay.crypto import contexts, primitives
from securerelay.protocol.items import Form, exactly, number, u64
from securerelay.sealing.fingerprint import Identity
from securerelay.sealing.roomlist import ROOM_ID_SIZE, RoomList
from securerelay.sealing.verdicts import Rejected, Verdict, read, require

CONTENT_TYPE = "application/vnd.securerelay.room-key"
KEY_SIZE = 32
ID_SIZE = 16
LIFE = 24 * 3_600_000
"""Milliseconds for which a sender uses a key."""
MAX_MESSAGES = 1000
"""Messages that a sender seals under a key."""
SENDER_KEEPS = 3 * 86_400_000
"""Milliseconds for which a sender keeps a key, to answer those who miss it."""
RECEIVER_KEEPS = 26 * 3_600_000
"""Milliseconds after which a key counts as superseded, though no other came."""

_ROOM_ID, _VERSION, _LIST_HASH, _KEY = range(0x01, 0x05)
_FORM = Form(
    {
        _ROOM_ID: exactly(ROOM_ID_SIZE),
        _VERSION: number(),
        _LIST_HASH: exactly(48),
        _KEY: exactly(KEY_SIZE),
    }
)


@dataclass(frozen=True, slots=True)
class RoomKey:
    """A room key and what it is for.

    Args:
        sender: the fingerprint of who seals with it.
        room: the room's name.
        room_id: 16 bytes.
        version: of the list.
        list_hash: of the list, 48 bytes.
        secret: 32 random bytes.

    Attributes:
        id: 16 bytes, by which messages name the key.
    """

    sender: bytes
    room: str
    room_id: bytes
    version: int
    list_hash: bytes
    secret: bytes = field(repr=False)
    id: bytes = field(init=False)

    def __post_init__(self) -> None:
        key_id = primitives.hkdf256(self.secret, b"", contexts.E2E_ROOM_KEY_ID, ID_SIZE)
        object.__setattr__(self, "id", key_id)

    @classmethod
    def make(cls, sender: bytes, members: RoomList, secret: bytes) -> RoomKey:
        """Return a sender's new key for a list.

        Args:
            sender: our own fingerprint.
            members: the newest list.
            secret: 32 random bytes.

        Raises:
            ValueError: if the sender is not in the list.
        """
        if not members.has(sender) or len(secret) != KEY_SIZE:
            raise ValueError("a room key of somebody who is not in the room, or of another length")
        return cls(sender, members.name, members.room_id, members.version, members.hash, secret)

    def body(self) -> bytes:
        """Return the body that takes it to a member, of :data:`CONTENT_TYPE`."""
        return _FORM.write(
            {
                _ROOM_ID: self.room_id,
                _VERSION: u64(self.version),
                _LIST_HASH: self.list_hash,
                _KEY: self.secret,
            }
        )

    def serves(self, newest: RoomList, made: int, sealed: int, now: int) -> bool:
        """Tell whether its sender may seal one more message with it.

        Args:
            newest: the newest list of the room.
            made: when the key was made, Unix ms.
            sealed: messages sealed under it.
            now: Unix ms.
        """
        fresh = 0 <= now - made < LIFE and sealed < MAX_MESSAGES
        return fresh and self.list_hash == newest.hash


def meant(body: bytes) -> tuple[bytes, int, bytes]:
    """Return which room (its id) and list (version, hash) a key says to be for, believing nothing.

    Args:
        body: of an envelope that was opened.

    Raises:
        Rejected: ``altered`` for no key.
    """
    items = read(_FORM, body, Verdict.ALTERED)
    return items.values[_ROOM_ID], items.number(_VERSION), items.values[_LIST_HASH]


def take(
    body: bytes, sender: Identity, me: Identity, find_list: Callable[[bytes], RoomList | None]
) -> RoomKey:
    """Read a key that a member sent us.

    Args:
        body: of an envelope that was opened.
        sender: who signed the envelope.
        me: ourselves.
        find_list: returns the verified list of a hash (48 bytes), if it is held.

    Raises:
        Rejected: ``list-needed`` if the list is not held; ``altered`` for no key, one that does not
            fit its list, or one for people who are not in it.
    """
    items = read(_FORM, body, Verdict.ALTERED)
    values = items.values
    members = find_list(values[_LIST_HASH])
    if members is None:
        raise Rejected(Verdict.LIST_NEEDED, f"version {items.number(_VERSION)} is not held")
    require(
        (values[_ROOM_ID], items.number(_VERSION)) == (members.room_id, members.version),
        Verdict.ALTERED,
        "a key whose list has another room or version",
    )
    require(members.has(sender.fp), Verdict.ALTERED, "a key of somebody outside the room")
    require(members.has(me.fp), Verdict.ALTERED, "a key of a room that we are not in")
    return RoomKey.make(sender.fp, members, values[_KEY])


def superseded(came: int, followed: int | None) -> int:
    """Return from when on a receiver's key counts as superseded, Unix ms.

    :func:`securerelay.sealing.prekeys.may_be_destroyed` says when it goes.

    Args:
        came: when the key came, Unix ms.
        followed: when the sender's next one for the room came; None while there is none.
    """
    latest = came + RECEIVER_KEEPS
    return latest if followed is None else min(followed, latest)
