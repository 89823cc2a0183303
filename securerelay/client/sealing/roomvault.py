"""What sealing keeps of rooms: whose they are, lists of members, and room keys.

As with :mod:`.vault`, every method takes the state of the transaction that it is part of.
"""

from __future__ import annotations

from dataclasses import dataclass

from securerelay.client.sealing.vault import Vault, erase
from securerelay.client.state import State
from securerelay.sealing import prekeys, roomkey, roomlist
from securerelay.sealing.roomkey import RoomKey
from securerelay.sealing.roomlist import HELD, RoomList, RoomPin

MOST_KEYS = 256
"""Keys that are kept of one sender in one room; the oldest make room."""


@dataclass(frozen=True, slots=True)
class OwnKey:
    """A room key of ours.

    Args:
        key: the key.
        made: Unix ms.
        sealed: messages sealed under it, as far as that is on disk.
    """

    key: RoomKey
    made: int
    sealed: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """Messages of a room that wait for the same thing.

    Args:
        key: the id of the room key that they name.
        sender: whose they are.
        room: the room.
        why: the verdict's value.
        since: when the first came, Unix ms.
        asked: when the key was asked for, Unix ms.
    """

    key: bytes
    sender: str
    room: str
    why: str
    since: int
    asked: tuple[int, ...]


class RoomVault:
    """Rooms in one profile's database.

    Args:
        vault: wraps secrets.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    # -- lists

    def room(self, state: State, name: str) -> tuple[RoomPin, RoomList] | None:
        """Return what is pinned about a room, and the newest list; None for one unknown."""
        row = state.db.execute(
            "SELECT room_id, owner, room.version, list, raw FROM room "
            "JOIN room_list ON hash = list WHERE name = ?",
            (name,),
        ).fetchone()
        if row is None:
            return None
        room_id, owner, version, list_hash, raw = row
        one = roomlist.parse(raw, name)  # it was verified before it was kept
        return RoomPin(room_id, owner, version, list_hash, one.grant), one

    def names(self, state: State) -> dict[bytes, str]:
        """Return the names of the rooms that are known, by their ids."""
        return dict(state.db.execute("SELECT room_id, name FROM room"))

    def save(self, state: State, pin: RoomPin, one: RoomList, now: int) -> None:
        """Write a list down that was verified and taken, in the place of the newest one."""
        state.db.execute(
            "INSERT OR REPLACE INTO room VALUES (?, ?, ?, ?, ?)",
            (one.name, pin.room_id, pin.owner, pin.version, pin.hash),
        )
        state.db.execute(
            "UPDATE room_list SET followed = ? WHERE room = ? AND followed IS NULL AND hash != ?",
            (now, one.name, pin.hash),
        )
        state.db.execute(
            "INSERT OR IGNORE INTO room_list VALUES (?, ?, ?, ?, NULL)",
            (pin.hash, one.name, one.version, one.raw),
        )
        state.db.execute("DELETE FROM room_list WHERE followed <= ?", (now - HELD,))

    def save_older(self, state: State, one: RoomList, now: int) -> None:
        """Write a verified list down that was followed before we had it.

        If there is another one of its version, that one stays.
        """
        state.db.execute(
            "INSERT INTO room_list SELECT ?, ?, ?, ?, ? WHERE NOT EXISTS "
            "(SELECT 1 FROM room_list WHERE room = ? AND version = ?)",
            (one.hash, one.name, one.version, one.raw, now, one.name, one.version),
        )

    def list_of(self, state: State, list_hash: bytes) -> RoomList | None:
        """Return a list that is held, by its hash (48 bytes)."""
        row = state.db.execute(
            "SELECT raw, room FROM room_list WHERE hash = ?", (list_hash,)
        ).fetchone()
        return roomlist.parse(*row) if row else None

    def forget(self, state: State, name: str) -> bool:
        """Forget a room; what the relay serves next is taken as at first sight.

        Returns:
            Whether there was something to forget.
        """
        state.db.execute("DELETE FROM room_list WHERE room = ?", (name,))
        erase(state, "DELETE FROM room_key WHERE room = ?", [(name,)])
        return state.db.execute("DELETE FROM room WHERE name = ?", (name,)).rowcount > 0

    # -- keys

    def add_key(
        self, state: State, key: RoomKey, now: int, *, own: bool = False, next_one: bool = True
    ) -> None:
        """Keep a key.

        Args:
            state: of the transaction.
            key: the key.
            now: Unix ms.
            own: whether it is ours.
            next_one: whether it follows those that its sender had for the room before; not if it
                was asked for, since it may be any.
        """
        if next_one:
            state.db.execute(
                "UPDATE room_key SET followed = ? WHERE room = ? AND sender = ? AND own = ? "
                "AND followed IS NULL AND id != ?",
                (now, key.room, key.sender, own, key.id),
            )
        state.db.execute(
            "INSERT OR IGNORE INTO room_key VALUES (?, ?, ?, ?, ?, ?, NULL, 0, ?)",
            (
                *(key.id, key.room, key.sender, key.list_hash, own, now),
                self._vault.wrap(f"room-key/{key.id.hex()}", key.secret),
            ),
        )
        if not own:
            before = state.db.execute(
                "SELECT id FROM room_key WHERE room = ? AND sender = ? AND own = 0 "
                "ORDER BY made DESC LIMIT -1 OFFSET ?",
                (key.room, key.sender, MOST_KEYS),
            ).fetchall()
            erase(state, "DELETE FROM room_key WHERE id = ?", before)

    def key(self, state: State, key_id: bytes) -> RoomKey | None:
        """Return a key by its id (16 bytes)."""
        row = state.db.execute(
            "SELECT id, sender, list, secret FROM room_key WHERE id = ?", (key_id,)
        ).fetchone()
        return self._key(state, *row) if row else None

    def own_key(self, state: State, one: RoomList, now: int) -> OwnKey | None:
        """Return the key of ours that serves for a list; None if a new one is needed."""
        row = state.db.execute(
            "SELECT made, sealed, id, sender, list, secret FROM room_key "
            "WHERE list = ? AND own = 1 AND followed IS NULL ORDER BY made DESC",
            (one.hash,),
        ).fetchone()
        if row is None:
            return None
        made, sealed, *more = row
        key = self._key(state, *more)
        return OwnKey(key, made, sealed) if key and key.serves(one, made, sealed, now) else None

    def _key(
        self, state: State, key_id: bytes, sender: bytes, list_hash: bytes, secret: bytes
    ) -> RoomKey | None:
        one = self.list_of(state, list_hash)
        if one is None:
            return None
        return RoomKey.make(sender, one, self._vault.unwrap(f"room-key/{key_id.hex()}", secret))

    # -- messages that wait for a key

    def waiting(self, state: State) -> list[Waiting]:
        """List what messages of rooms wait for."""
        return [
            Waiting(key, sender, room, why, since, tuple(map(int, asked.split())))
            for key, sender, room, why, since, asked in state.db.execute(
                "SELECT key, sender, recipient, why, min(came), max(asked) FROM unopened "
                "WHERE recipient LIKE '@%' AND body IS NOT NULL "
                "GROUP BY key, sender, recipient, why ORDER BY min(id)"
            )
        ]

    def note_asked(self, state: State, one: Waiting, now: int) -> None:
        """Note that a key was asked for, with all messages that wait for it."""
        asked = " ".join(map(str, (*one.asked, now)))
        state.db.execute(
            "UPDATE unopened SET asked = ? WHERE key = ? AND sender = ? AND recipient = ?",
            (asked, one.key, one.sender, one.room),
        )

    # -- our own

    def note_sealed(self, state: State, key_id: bytes, count: int) -> None:
        """Note that so many more messages were sealed under a key of ours."""
        state.db.execute("UPDATE room_key SET sealed = sealed + ? WHERE id = ?", (count, key_id))

    def destroy(self, state: State, drained: int | None, named: set[bytes], now: int) -> set[bytes]:
        """Destroy keys that have served their time.

        Args:
            state: of the transaction.
            drained: as for :func:`securerelay.sealing.prekeys.may_be_destroyed`.
            named: ids of keys that messages wait for.
            now: Unix ms.

        Returns:
            The ids of those that are gone.
        """
        gone = []
        for one, own, made, followed in state.db.execute(
            "SELECT id, own, made, followed FROM room_key"
        ):
            if own:
                over = now - made >= roomkey.SENDER_KEEPS
            else:
                superseded = roomkey.superseded(made, followed)
                over = prekeys.may_be_destroyed(superseded, drained, one in named, now)
            if over:
                gone.append(one)
        erase(state, "DELETE FROM room_key WHERE id = ?", [(one,) for one in gone])
        return set(gone)
