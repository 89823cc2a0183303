"""The store in one SQLite file: what a relay on one machine needs, and nothing to install."""

# ruff: noqa: D102 - securerelay.store.interface documents every method.

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from securerelay.files import FolderLock
from securerelay.store import (
    copies,
    sql_bundles,
    sql_directory,
    sql_enrolment,
    sql_mailboxes,
    sql_rooms,
    sql_streams,
    sql_tickets,
)
from securerelay.store.engine import Call, Engine
from securerelay.store.interface import StorageStopped, Store
from securerelay.store.known import Known
from securerelay.store.lane import NewLane, ThreadLane
from securerelay.store.ledger import Ledger
from securerelay.store.rows import (
    Acked,
    Append,
    CertificateRow,
    Consumed,
    Durability,
    Expired,
    InvitationRow,
    LogRow,
    MailboxState,
    PeerRow,
    Published,
    Receipt,
    Redeemed,
    Refuse,
    Revocation,
    RoomListRow,
    RoomRow,
    StoredMessage,
    StreamRow,
    TicketRow,
    Usage,
    Verdict,
)

_log = Logger()


def _ignore(_: object) -> None:
    """Do nothing."""


class SqliteStore:
    """A durable :class:`~securerelay.store.interface.Store` in ``relay.sqlite`` of the data folder.

    Args:
        folder: the data folder, which exists.
        wrap_key: 32 bytes that encrypt the PSKs of tickets; kept outside the database.
        call: runs a function with its arguments in the reactor thread, as
            ``reactor.callFromThread``.
        lock: the folder's lock if the caller holds it already; let go when the store is closed.
        lane: makes the lanes; a test gives one that works in the caller's thread.
        failpoint: called with ``before-commit`` and ``after-commit`` in the writing thread.
        on_stop: called once, in the reactor thread, if the disk fails and the store gives up.
    """

    def __init__(
        self,
        folder: Path,
        wrap_key: bytes,
        call: Call,
        *,
        lock: FolderLock | None = None,
        lane: NewLane = ThreadLane,
        failpoint: Callable[[str], None] = _ignore,
        on_stop: Callable[[StorageStopped], None] = _ignore,
    ) -> None:
        self._tickets = sql_tickets.Tickets(wrap_key)
        lock = FolderLock(folder) if lock is None else lock
        self._ledger = Ledger()
        self._known = Known()
        self._engine = Engine(folder, call, lane, lock, self._ledger, failpoint, on_stop)
        self._write = self._engine.write
        self._read = self._engine.read

    def open(self) -> Deferred[Durability]:
        return self._engine.open()

    def close(self) -> Deferred[None]:
        return self._engine.close()

    def backup(self, target: Path) -> Deferred[None]:
        """Write a copy of the database while it is in use; see :func:`.copies.backup`."""
        return self._engine.aside(lambda: copies.backup(self._engine.folder, target), "backup")

    # The directory.

    def lookup(self, name: str) -> Deferred[PeerRow | None]:
        known = self._known
        peer = known.get(name)
        if peer is not None:
            return succeed(peer)
        found: Deferred[PeerRow | None] = self._read(lambda db: sql_directory.lookup(db, name))
        return found.addCallback(known.keep, known.changes)

    def peers(self) -> Deferred[list[PeerRow]]:
        return self._read(sql_directory.peers)

    def issued(self, name: str | None = None) -> Deferred[list[CertificateRow]]:
        return self._read(lambda db: sql_directory.issued(db, name))

    def expiring(self, before: int) -> Deferred[list[CertificateRow]]:
        return self._read(lambda db: sql_directory.expiring(db, before))

    def renew(self, certificate: CertificateRow) -> Deferred[PeerRow]:
        return self._known.until(self._write(lambda db: sql_directory.renew(db, certificate)))

    def issue(self, certificate: CertificateRow) -> Deferred[CertificateRow]:
        return self._write(lambda db: sql_directory.issue(db, certificate))

    def succeed(self, name: str, sha256: bytes) -> Deferred[PeerRow]:
        return self._known.until(self._write(lambda db: sql_directory.succeed(db, name, sha256)))

    def revoke(self, name: str, now: int, *, closed: bool = False) -> Deferred[int]:
        revoked = self._write(lambda db: sql_directory.revoke(db, name, now, closed), frees=True)
        return self._known.until(revoked)

    def revocations(self, after: int) -> Deferred[list[Revocation]]:
        return self._read(lambda db: sql_directory.revocations(db, after))

    def key_log(self, start: int, limit: int) -> Deferred[list[LogRow]]:
        return self._read(lambda db: sql_directory.key_log(db, start, limit))

    def key_log_size(self) -> Deferred[int]:
        return self._read(sql_directory.key_log_size)

    # Bundles.

    def publish(
        self, name: str, number: int, bundle: bytes, certificate_sha256: bytes
    ) -> Deferred[None]:
        return self._write(
            lambda db: sql_bundles.publish(db, name, number, bundle, certificate_sha256)
        )

    def published(self, names: Sequence[str]) -> Deferred[dict[str, Published]]:
        return self._read(lambda db: sql_bundles.published(db, names))

    # Invitations and tickets.

    def invite(self, invitation: InvitationRow) -> Deferred[None]:
        return self._write(lambda db: sql_enrolment.invite(db, invitation))

    def invitation(self, token: bytes) -> Deferred[InvitationRow | None]:
        return self._read(lambda db: sql_enrolment.invitation(db, token))

    def invitations(self) -> Deferred[list[InvitationRow]]:
        return self._read(sql_enrolment.invitations)

    def withdraw(self, token: bytes) -> Deferred[bool]:
        return self._write(lambda db: sql_enrolment.withdraw(db, token), frees=True)

    def dispute(self, token: bytes, now: int | None) -> Deferred[bool]:
        return self._write(lambda db: sql_enrolment.dispute(db, token, now))

    def consume(self, token: bytes, certificate: CertificateRow, now: int) -> Deferred[Consumed]:
        return self._write(lambda db: sql_enrolment.consume(db, token, certificate, now))

    def ticket_put(self, tickets: Sequence[TicketRow]) -> Deferred[None]:
        return self._write(lambda db: self._tickets.put(db, tickets))

    def ticket_take(
        self, id_sha256: bytes, now: int, verify: Callable[[bytes], None]
    ) -> Deferred[Redeemed | None]:
        known, changes = self._known, self._known.changes

        def remember(redeemed: Redeemed | None) -> Redeemed | None:
            if redeemed is not None:
                known.keep(redeemed.peer, changes)
            return redeemed

        taken = self._write(lambda db: self._tickets.take(db, id_sha256, now, verify), frees=True)
        return taken.addCallback(remember)

    def tickets_kill(
        self, *, session_id: bytes | None = None, name: str | None = None
    ) -> Deferred[int]:
        return self._write(lambda db: sql_tickets.kill(db, session_id, name), frees=True)

    # Streams and mailboxes.

    def stream_open(self, sender: str, stream: str, answered: int, now: int) -> Deferred[StreamRow]:
        return self._write(
            lambda db: sql_streams.open_stream(db, self._ledger, sender, stream, answered, now)
        )

    def append(self, batch: Sequence[Append | Refuse]) -> Deferred[list[Verdict]]:
        return self._engine.append(batch)

    def fetch(
        self, peer: str, after: int, max_messages: int, max_bytes: int
    ) -> Deferred[list[StoredMessage]]:
        def told(found: tuple[list[StoredMessage], list[int]]) -> list[StoredMessage]:
            page, damaged = found
            for n in damaged:
                _log.critical("message {n} for {peer} is damaged on disk", n=n, peer=peer)
            return page

        page = self._read(lambda db: sql_mailboxes.fetch(db, peer, after, max_messages, max_bytes))
        return page.addCallback(told)

    def ack(self, peer: str, upto: int, now: int) -> Deferred[Acked]:
        return self._write(lambda db: sql_mailboxes.ack(db, peer, upto, now), frees=True)

    def receipts_keep(self, receipts: Sequence[Receipt]) -> Deferred[None]:
        return self._write(lambda db: sql_streams.keep_receipts(db, receipts))

    def receipts_told(self, receipts: Sequence[Receipt]) -> Deferred[None]:
        return self._write(lambda db: sql_streams.forget_receipts(db, receipts), frees=True)

    def mailbox_state(self, peer: str) -> Deferred[MailboxState]:
        return self._read(lambda db: sql_mailboxes.mailbox_state(db, peer))

    def mail_total(self) -> Deferred[Usage]:
        return self._read(sql_mailboxes.mail_total)

    def expire(self, now: int, limit: int = 1000) -> Deferred[list[Expired]]:
        return self._write(lambda db: sql_mailboxes.expire(db, now, limit), frees=True)

    def tidy(self, now: int) -> Deferred[None]:
        def work(db: sqlite3.Connection) -> None:
            sql_tickets.forget_tickets(db, now)
            sql_enrolment.forget_invitations(db, now)
            sql_streams.forget_streams(db, self._ledger, now)
            sql_rooms.forget_lists(db, now)

        return self._write(work, frees=True)

    # Rooms.

    def room_create(
        self, name: str, owner: str, now: int, *, join: str = "invitation", post: str = "members"
    ) -> Deferred[RoomRow]:
        return self._write(lambda db: sql_rooms.create_room(db, name, owner, now, join, post))

    def room_change(
        self,
        name: str,
        *,
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
        join: str | None = None,
        post: str | None = None,
        owner: str | None = None,
        version: int | None = None,
    ) -> Deferred[RoomRow]:
        rules = join, post, owner
        return self._write(lambda db: sql_rooms.change_room(db, name, add, remove, rules, version))

    def room_publish(
        self, row: RoomListRow, members: Sequence[str], now: int, most: int
    ) -> Deferred[RoomRow]:
        return self._write(lambda db: sql_rooms.publish_list(db, row, members, now, most))

    def room_list(self, name: str, version: int | None = None) -> Deferred[RoomListRow | None]:
        return self._read(lambda db: sql_rooms.find_list(db, name, version))

    def room_delete(self, name: str, version: int | None = None) -> Deferred[None]:
        return self._write(lambda db: sql_rooms.delete_room(db, name, version), frees=True)

    def room(self, name: str) -> Deferred[RoomRow | None]:
        return self._read(lambda db: sql_rooms.room(db, name))

    def room_count(self, member: str) -> Deferred[int]:
        return self._read(lambda db: sql_rooms.room_count(db, member))

    def rooms(self, member: str | None = None) -> Deferred[list[RoomRow]]:
        return self._read(lambda db: sql_rooms.rooms(db, member))


if TYPE_CHECKING:
    import sqlite3

    _: Store = SqliteStore(Path(), b"", _ignore)
