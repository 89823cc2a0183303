"""What sealing keeps in the profile's database: contacts, prekeys, what did not open, notices.

A vault has no connection of its own: every method takes the state of the transaction that it is
part of, in the lane's thread or in a program without a reactor::

    contact = await journal.do(lambda state: vault.contact(state, "bob"), write=False)
    state.run([lambda state: vault.save_contact(state, contact)])

Secrets are wrapped under the profile's data key, each for the row that it is in.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from securerelay.client.state import State
from securerelay.crypto import primitives
from securerelay.errors import StorageError
from securerelay.sealing import prekeys
from securerelay.sealing.fingerprint import Identity
from securerelay.sealing.pins import Former, Level, Pin
from securerelay.sealing.prekeys import Prekey

MOST_NOTICES = 1000
"""Notices that are kept."""
MOST_UNOPENED = 10_000, 64 << 20
"""Messages that are kept unopened, and bytes of their bodies."""
MOST_UNOPENED_OF_ONE = 2000, 16 << 20
"""How much of that may be in one peer's name, so that its junk leaves others their room."""


@dataclass(frozen=True, slots=True)
class Contact:
    """Whom we know, and the keys that were last found good.

    Args:
        pin: what is held on to.
        bundle: the last bundle that passed, as it came; None if none did since the pin was made.
        fetched: when it was fetched, Unix ms; 0 for never.
        since: when the pin came to its keys and level, Unix ms.
    """

    pin: Pin
    bundle: bytes | None = field(default=None, repr=False)
    fetched: int = 0
    since: int = 0

    @property
    def name(self) -> str:
        """The peer's name."""
        return self.pin.identity.name


@dataclass(frozen=True, slots=True)
class OwnPrekey:
    """A prekey of ours and where it is in its life.

    Args:
        prekey: with its private half.
        number: of the bundle that tells it.
        made: Unix ms.
        superseded: since when a newer one is known at the relay, Unix ms; None if none is.
    """

    prekey: Prekey
    number: int
    made: int
    superseded: int | None = None


@dataclass(frozen=True, slots=True)
class Unopened:
    """A message that did not open.

    Args:
        n: its number in our mailbox.
        sender: the peer that the relay names.
        to: ourselves, or the room.
        stream: the sender's, in base64url.
        seq: its number there.
        time: when the relay accepted it, Unix ms.
        key: the prekey's id (8 bytes) or the room key's (16) that it names.
        why: the verdict's value.
        came: Unix ms.
        body: the envelope; None if it will never open.
        asked: when it, or its key, was asked for, Unix ms.
        id: of the row; 0 for a new one.
    """

    n: int
    sender: str
    to: str
    stream: str
    seq: int
    time: int
    key: bytes
    why: str
    came: int
    body: bytes | None = field(repr=False)
    asked: tuple[int, ...] = ()
    id: int = 0


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that the user was shown.

    Args:
        time: Unix ms.
        verdict: its name.
        peer: the peer or room it is about.
        words: for people.
    """

    time: int
    verdict: str
    peer: str
    words: str


class Vault:
    """What sealing keeps in one profile's database.

    Args:
        relay_id: the profile's relay, 32 bytes.
        data_key: what secrets are wrapped under, 32 bytes.
    """

    def __init__(self, relay_id: bytes, data_key: bytes) -> None:
        self._relay_id = relay_id
        self._cipher = primitives.aead("aes256gcm", data_key)

    # -- secrets

    def wrap(self, row: str, secret: bytes) -> bytes:
        """Encrypt a secret for the row it is kept in.

        Args:
            row: which, such as ``prekey/`` and its id; the same to :meth:`unwrap` it.
            secret: any bytes.

        Returns:
            28 bytes more.
        """
        nonce = primitives.random_bytes(primitives.NONCE_SIZE)
        return nonce + primitives.seal(self._cipher, nonce, secret, row.encode())

    def unwrap(self, row: str, wrapped: bytes) -> bytes:
        """Decrypt what :meth:`wrap` made.

        Raises:
            StorageError: if it is of another row or profile.
        """
        nonce, sealed = wrapped[: primitives.NONCE_SIZE], wrapped[primitives.NONCE_SIZE :]
        secret = None
        if len(nonce) == primitives.NONCE_SIZE:
            secret = primitives.unseal(self._cipher, nonce, sealed, row.encode())
        if secret is None:
            raise StorageError("a secret in the profile's database does not open: it is damaged")
        return secret

    # -- numbers

    def fact(self, state: State, key: str) -> int:
        """Return a number kept under a key; 0 if there is none."""
        row = state.db.execute("SELECT value FROM fact WHERE key = ?", (key,)).fetchone()
        return int(row[0]) if row else 0

    def set_fact(self, state: State, key: str, value: int) -> None:
        """Keep a number under a key."""
        state.db.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (key, value))

    # -- contacts

    def contact(self, state: State, name: str) -> Contact | None:
        """Return a contact; None for somebody unknown."""
        return next(iter(self.contacts(state, (name,))), None)

    def contacts(self, state: State, names: Sequence[str] | None = None) -> list[Contact]:
        """List contacts by name.

        Args:
            state: of the transaction.
            names: whom; None for all.
        """
        query = (
            "SELECT name, spki, message_key, level, number, former, blocked, bundle, fetched, "
            "since FROM contact "
        )
        if names is None:
            rows = state.db.execute(query + "ORDER BY name").fetchall()
        else:
            rows = [
                row for name in names for row in state.db.execute(query + "WHERE name = ?", (name,))
            ]
        return [self._contact(*row) for row in rows]

    def _contact(
        self,
        name: str,
        spki: bytes,
        message_key: bytes,
        level: str,
        number: int,
        former: str,
        blocked: str | None,
        bundle: bytes | None,
        fetched: int,
        since: int,
    ) -> Contact:
        pin = Pin(
            Identity(self._relay_id, name, spki, message_key),
            Level(level),
            number,
            tuple(Former(self._identity(name, keys), until) for *keys, until in json.loads(former)),
            None if blocked is None else self._identity(name, json.loads(blocked)),
        )
        return Contact(pin, bundle, fetched, since)

    def _identity(self, name: str, keys: Sequence[str]) -> Identity:
        spki, message_key = map(bytes.fromhex, keys)
        return Identity(self._relay_id, name, spki, message_key)

    def save_contact(self, state: State, contact: Contact) -> None:
        """Write a contact down, in the place of what was known."""
        pin = contact.pin
        former = [[*_keys(one.identity), one.until] for one in pin.former]
        state.db.execute(
            "INSERT OR REPLACE INTO contact VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(pin.identity.name, pin.identity.spki, pin.identity.message_key),
                *(pin.level.value, pin.number, json.dumps(former)),
                None if pin.blocked is None else json.dumps(_keys(pin.blocked)),
                *(contact.bundle, contact.fetched, contact.since),
            ),
        )

    # -- our own prekeys

    def add_prekey(self, state: State, prekey: Prekey, number: int, now: int) -> None:
        """Keep a new prekey before anybody hears of it; if there are too many, the oldest goes.

        Args:
            state: of the transaction.
            prekey: the new one.
            number: of the bundle that tells it.
            now: Unix ms.
        """
        wrapped = self.wrap(f"prekey/{prekey.id.hex()}", prekey.private)
        state.db.execute(
            "INSERT INTO prekey VALUES (?, ?, ?, NULL, ?)", (prekey.id, number, now, wrapped)
        )
        self.destroy_prekeys(state, [old for old, _ in self.prekey_lives(state)[: -prekeys.MOST]])

    def prekeys(self, state: State, known: Iterable[bytes] = ()) -> list[OwnPrekey]:
        """List prekeys, oldest first.

        Args:
            state: of the transaction.
            known: ids of those that are not wanted again.
        """
        skip = frozenset(known)
        return [
            OwnPrekey(Prekey(self.unwrap(f"prekey/{one.hex()}", private)), number, made, superseded)
            for one, number, made, superseded, private in state.db.execute(
                "SELECT id, number, made, superseded, private FROM prekey ORDER BY number"
            )
            if one not in skip
        ]

    def prekey_numbers(self, state: State) -> list[int]:
        """List the numbers of the bundles that tell our prekeys, lowest first."""
        return [one for (one,) in state.db.execute("SELECT number FROM prekey ORDER BY number")]

    def count_prekeys(self, state: State) -> int:
        """Count the prekeys."""
        return len(self.prekey_numbers(state))

    def supersede_prekeys(self, state: State, number: int, now: int) -> None:
        """Note that the relay has the bundle of a number, so that older prekeys are superseded."""
        state.db.execute(
            "UPDATE prekey SET superseded = ? WHERE number < ? AND superseded IS NULL",
            (now, number),
        )

    def prekey_lives(self, state: State) -> list[tuple[bytes, int | None]]:
        """List the ids of prekeys, oldest first, and since when each is superseded."""
        return list(state.db.execute("SELECT id, superseded FROM prekey ORDER BY number"))

    def destroy_prekeys(self, state: State, ids: Iterable[bytes]) -> None:
        """Delete prekeys and overwrite them; :func:`scrub` completes it."""
        erase(state, "DELETE FROM prekey WHERE id = ?", [(one,) for one in ids])

    # -- what did not open

    def keep_unopened(self, state: State, message: Unopened) -> bool | None:
        """Keep a message for later, unless it is kept already or there are too many.

        Returns:
            Whether it is kept now, and was not before; None if it is not kept.
        """
        inserted = state.db.execute(
            "INSERT OR IGNORE INTO unopened "
            "(n, sender, recipient, stream, seq, time, key, why, came, body) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(message.n, message.sender, message.to, message.stream, message.seq),
                *(message.time, message.key, message.why, message.came, message.body),
            ),
        )
        if not inserted.rowcount:
            return False
        limits = ((MOST_UNOPENED, None), (MOST_UNOPENED_OF_ONE, message.sender))
        for (most, most_bytes), sender in limits:
            count, size = state.db.execute(
                "SELECT count(*), ifnull(sum(length(body)), 0) FROM unopened "
                "WHERE sender = ifnull(?, sender)",
                (sender,),
            ).fetchone()
            if count > most or size > most_bytes:
                self.drop_unopened(state, [inserted.lastrowid or 0])
                return None
        return True

    def unopened(
        self, state: State, *, sender: str | None = None, key: bytes | None = None
    ) -> list[Unopened]:
        """List messages that did not open, in the order in which they came.

        Args:
            state: of the transaction.
            sender: only this peer's.
            key: only those that name this key.
        """
        return [
            Unopened(*(*row, tuple(map(int, asked.split())), number))
            for *row, asked, number in state.db.execute(
                "SELECT n, sender, recipient, stream, seq, time, key, why, came, body, asked, id "
                "FROM unopened WHERE sender = ifnull(?, sender) AND key = ifnull(?, key) "
                "ORDER BY id",
                (sender, key),
            )
        ]

    def note_asked(self, state: State, message: Unopened, now: int) -> None:
        """Note that a message, or its key, was asked for."""
        asked = " ".join(map(str, (*message.asked, now)))
        state.db.execute("UPDATE unopened SET asked = ? WHERE id = ?", (asked, message.id))

    def drop_unopened(self, state: State, ids: Iterable[int]) -> None:
        """Forget messages: they were opened, came anew, or never will."""
        state.db.executemany("DELETE FROM unopened WHERE id = ?", [(one,) for one in ids])

    # -- notices

    def add_notice(self, state: State, notice: Notice) -> None:
        """Keep what the user is shown; the oldest make room."""
        state.db.execute(
            "INSERT INTO notice (time, verdict, peer, words) VALUES (?, ?, ?, ?)",
            (notice.time, notice.verdict, notice.peer, notice.words),
        )
        state.db.execute(
            "DELETE FROM notice WHERE id <= (SELECT max(id) FROM notice) - ?", (MOST_NOTICES,)
        )

    def notices(self, state: State, limit: int = MOST_NOTICES) -> list[Notice]:
        """List the newest notices, the oldest of them first."""
        rows = state.db.execute(
            "SELECT time, verdict, peer, words FROM notice ORDER BY id DESC LIMIT ?", (limit,)
        ).fetchall()
        return [Notice(*row) for row in rows[::-1]]


def erase(state: State, statement: str, rows: Iterable[Sequence[object]]) -> None:
    """Delete rows so that their pages keep nothing of them."""
    state.db.execute("PRAGMA secure_delete = ON")
    try:
        state.db.executemany(statement, rows)
    finally:
        state.db.execute("PRAGMA secure_delete = FAST")


def scrub(state: State) -> bool:
    """Empty the database's log of old contents, once a transaction that erased is over.

    Returns:
        False if another process uses the log just now; then it is for another time.
    """
    try:
        (busy, *_) = state.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error:
        return False
    return not busy


def _keys(identity: Identity) -> list[str]:
    return [identity.spki.hex(), identity.message_key.hex()]
