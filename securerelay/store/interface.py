"""What a relay asks of a store, whichever engine is behind it.

Every method answers with a Deferred that fires in the reactor thread, and none shows SQL, a
connection or a transaction.  A write is answered when it is durable.  Reads see every write that
was answered before they were asked.  One call is one transaction: it happens as a whole or not at
all.

A request that the facts speak against fails with :class:`~securerelay.errors.Refused`, whose codes
each method names.  A store that cannot write fails with :class:`StorageFull`, and goes on when
there is room again; one whose disk fails ends with :class:`StorageStopped` for this and every
later call, because what a failed sync left on the disk cannot be known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from twisted.internet.defer import Deferred

from securerelay.errors import StorageError
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

KEPT = 30 * 24 * 3600 * 1000
"""How long used invitations and unused streams are remembered, in milliseconds (SR1 section 5)."""

LISTS_KEPT = 16 * 24 * 3600 * 1000
"""How long a room's list is kept once another followed it, in milliseconds."""
NAME_TAKEN = "{} is taken, or looks too much like another room; choose another name"
"""What somebody hears whose room cannot be made."""

MAX_REFUSALS = 4096
"""How many refusals a stream remembers (SR1 section 5)."""


class StorageFull(StorageError):
    """There is no room on the disk; nothing was written, and the same may succeed later."""


class StorageStopped(StorageError):
    """The store is closed, or gave up after an error of the disk."""


class Directory(Protocol):
    """Who is who: names, certificates, revocations, the key log."""

    def lookup(self, name: str) -> Deferred[PeerRow | None]:
        """Find a peer by name, also one revoked or closed."""

    def peers(self) -> Deferred[list[PeerRow]]:
        """List every name ever enrolled, sorted."""

    def issued(self, name: str | None = None) -> Deferred[list[CertificateRow]]:
        """List certificates, all or one peer's, by issue or by when they followed another key's."""

    def expiring(self, before: int) -> Deferred[list[CertificateRow]]:
        """List active peers' current certificates that expire before a time, soonest first."""

    def renew(self, certificate: CertificateRow) -> Deferred[PeerRow]:
        """Replace an active peer's certificate by one for the same key; tickets of the old one die.

        Raises:
            Refused: ``unknown``, or ``revoked`` if the peer is not active, or has another key.
        """

    def issue(self, certificate: CertificateRow) -> Deferred[CertificateRow]:
        """Keep a certificate for an active peer's next key, and tell of it in the key log.

        The present one stays until :meth:`succeed`; see :mod:`.successors`.

        Returns:
            The certificate, or the one that this key has already.

        Raises:
            Refused: ``unknown``, ``revoked``, ``key-used``, ``too-many``.
        """

    def succeed(self, name: str, sha256: bytes) -> Deferred[PeerRow]:
        """Put the certificate of an active peer's next key in the place of the present one.

        Tickets of the old one die.

        Args:
            name: whose.
            sha256: of the certificate, issued later than the present one.

        Raises:
            Refused: ``unknown``, ``revoked``.
        """

    def revoke(self, name: str, now: int, *, closed: bool = False) -> Deferred[int]:
        """End a name for ever, with its tickets, open invitations and memberships of rooms.

        Args:
            name: whose.
            now: Unix ms.
            closed: True if the peer left by itself.

        Returns:
            The revision; the earlier one if the name had ended before.

        Raises:
            Refused: ``unknown``.
        """

    def revocations(self, after: int) -> Deferred[list[Revocation]]:
        """List the revocations with a revision above ``after``, rising."""

    def key_log(self, start: int, limit: int) -> Deferred[list[LogRow]]:
        """Read at most ``limit`` leaves of the key log from index ``start`` on."""

    def key_log_size(self) -> Deferred[int]:
        """Count the leaves of the key log."""


class Bundles(Protocol):
    """What peers seal with, each peer's last bundle for ever."""

    def publish(
        self, name: str, number: int, bundle: bytes, certificate_sha256: bytes
    ) -> Deferred[None]:
        """Put a peer's bundle in the place of its last.

        Args:
            name: whose.
            number: of the bundle, below 2^63.
            bundle: opaque.
            certificate_sha256: of the certificate in it.

        Raises:
            Refused: ``unknown``, ``revoked``, ``old-certificate`` if that is not the peer's current
                one, ``stale`` if the number is not above the last one's.
        """

    def published(self, names: Sequence[str]) -> Deferred[dict[str, Published]]:
        """Find what peers published, also those who ended; names never enrolled are left out."""


class Invitations(Protocol):
    """Enrolment (SR1 section 6)."""

    def invite(self, invitation: InvitationRow) -> Deferred[None]:
        """Keep a new invitation.

        Raises:
            Refused: ``name-taken`` if a name ever enrolled is the same or looks like it; the
                detail is that name.  ``token-used`` if there is an invitation with this token.
        """

    def invitation(self, token: bytes) -> Deferred[InvitationRow | None]:
        """Find an invitation, also one used, withdrawn or expired, for 30 days."""

    def invitations(self) -> Deferred[list[InvitationRow]]:
        """List the invitations kept, oldest first."""

    def withdraw(self, token: bytes) -> Deferred[bool]:
        """Take an open invitation back; False if it was not open."""

    def dispute(self, token: bytes, now: int | None) -> Deferred[bool]:
        """Note that somebody came with a used invitation and another key, or that it is known.

        Args:
            token: 6 bytes.
            now: Unix ms; None once the operator has acknowledged it.

        Returns:
            True if that was news.
        """

    def consume(self, token: bytes, certificate: CertificateRow, now: int) -> Deferred[Consumed]:
        """Use an invitation: enter the name, its certificate and the leaf of the key log.

        The certificate is made beforehand, so that no signature is made inside the transaction; it
        is thrown away when the same key used the invitation before.

        Args:
            token: 6 bytes.
            certificate: for the key that the newcomer proved to hold.
            now: Unix ms.

        Raises:
            Refused: ``unknown``, ``expired`` (also withdrawn), ``token-used`` (by another key),
                ``name-taken``, ``revoked`` (on a repeat, if the peer has ended since).
        """


class Tickets(Protocol):
    """Resumption (SR1 section 3)."""

    def ticket_put(self, tickets: Sequence[TicketRow]) -> Deferred[None]:
        """Keep tickets for one use each."""

    def ticket_take(
        self, id_sha256: bytes, now: int, verify: Callable[[bytes], None]
    ) -> Deferred[Redeemed | None]:
        """Take a ticket out, if the client proves to know its PSK.

        Args:
            id_sha256: the hash of the ticket's id, 32 bytes.
            now: Unix ms.
            verify: called with the PSK inside the transaction, perhaps in another thread and more
                than once, so it must only compute; what it raises keeps the ticket and fails the
                answer.

        Returns:
            None if there is none, it expired, its peer ended or its certificate was replaced.
        """

    def tickets_kill(
        self, *, session_id: bytes | None = None, name: str | None = None
    ) -> Deferred[int]:
        """Delete the tickets of a session, or of a peer; returns how many there were."""


class Mailboxes(Protocol):
    """Streams and mailboxes (SR1 section 5)."""

    def stream_open(self, sender: str, stream: str, answered: int, now: int) -> Deferred[StreamRow]:
        """Open a sending stream, new or known.

        Refusals up to ``answered`` are forgotten, and the last consumed seq is at least
        ``answered``: a verdict that the client has is a verdict given, even if the message behind
        it never needed the disk.

        Args:
            sender: whose stream.
            stream: its id.
            answered: the last seq for which the client has a verdict.
            now: Unix ms.

        Returns:
            The stream; ``known`` is False, and nothing was made, if ``answered`` is above 0 and
            there is no such stream.
        """

    def append(self, batch: Sequence[Append | Refuse]) -> Deferred[list[Verdict]]:
        """Store messages and refusals in the order given, in one transaction with one sync.

        Items of a stream come in order of ``seq``, those of a mailbox in order of ``n``.  After a
        failure whose outcome is unknown the same batch may be given again; what had been committed
        is then a ``Duplicate``.

        Returns:
            A verdict for each item.
        """

    def fetch(
        self, peer: str, after: int, max_messages: int, max_bytes: int
    ) -> Deferred[list[StoredMessage]]:
        """Read a page of a mailbox, numbers rising from above ``after``.

        Args:
            peer: whose mailbox.
            after: the number behind which to begin.
            max_messages: at most so many.
            max_bytes: of bodies; the first message is given whatever its size.

        Returns:
            The page, empty at the end of the mailbox.  A message damaged on disk is left out and
            logged.
        """

    def ack(self, peer: str, upto: int, now: int) -> Deferred[Acked]:
        """Forget the messages of a mailbox up to a number, for their recipient has them."""

    def receipts_keep(self, receipts: Sequence[Receipt]) -> Deferred[None]:
        """Keep receipts for messages that never were in the store."""

    def receipts_told(self, receipts: Sequence[Receipt]) -> Deferred[None]:
        """Forget receipts, for the senders have been told."""

    def mailbox_state(self, peer: str) -> Deferred[MailboxState]:
        """Measure a mailbox; ask once before the first append to it and keep count from then on."""

    def mail_total(self) -> Deferred[Usage]:
        """Count what all mailboxes hold; it looks at every one of them."""

    def expire(self, now: int, limit: int = 1000) -> Deferred[list[Expired]]:
        """Remove messages whose expiry is not after ``now``, soonest first, at most ``limit``."""

    def tidy(self, now: int) -> Deferred[None]:
        """Forget expired tickets, lists followed long ago, and what was of no use for 30 days."""


class Rooms(Protocol):
    """Rooms; who may do what is decided above.

    Each change raises the version.  ``version`` is what the caller believes it to be, None if it
    does not matter.
    """

    def room_create(
        self, name: str, owner: str, now: int, *, join: str = "invitation", post: str = "members"
    ) -> Deferred[RoomRow]:
        """Make a room with its owner as the first member.

        Raises:
            Refused: ``name-taken`` if a room is called the same or looks like it; the detail does
                not say which, for rooms are invisible to those who are not in them.
        """

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
        """Change members or rules; what is so already changes nothing, not even the version.

        Raises:
            Refused: ``unknown``, or ``room-changed``.
        """

    def room_publish(
        self, row: RoomListRow, members: Sequence[str], now: int, most: int
    ) -> Deferred[RoomRow]:
        """Keep a room's next signed list, and make those its members whom it names.

        Lists that were followed by another :data:`LISTS_KEPT` ago are forgotten.

        Args:
            row: the list; its version is that of the newest and one.
            members: whom it names, sorted.
            now: Unix ms.
            most: lists that the room may keep.

        Raises:
            Refused: ``unknown``, ``room-changed`` for any other version, or ``too-many``.
        """

    def room_list(self, name: str, version: int | None = None) -> Deferred[RoomListRow | None]:
        """Find a signed list of a room, the newest if no version is given."""

    def room_delete(self, name: str, version: int | None = None) -> Deferred[None]:
        """Remove a room with its lists; mail that was sent to it stays.

        Raises:
            Refused: ``unknown``, or ``room-changed``.
        """

    def room(self, name: str) -> Deferred[RoomRow | None]:
        """Find a room."""

    def room_count(self, member: str) -> Deferred[int]:
        """Count the rooms that a peer is in."""

    def rooms(self, member: str | None = None) -> Deferred[list[RoomRow]]:
        """List all rooms, or those of a member, sorted."""


class Store(Directory, Bundles, Invitations, Tickets, Mailboxes, Rooms, Protocol):
    """All of it."""

    def open(self) -> Deferred[Durability]:
        """Make ready; nothing else may be asked before this has answered.

        Raises:
            FolderLocked: if another relay has it open.
            StorageError: if what is there is damaged, of a newer version or not a store; it is
                left as it was.
        """

    def close(self) -> Deferred[None]:
        """Finish what was asked, and let go."""

    def backup(self, target: Path) -> Deferred[None]:
        """Write all that is known at this moment to a new file.

        Raises:
            StorageError: if it cannot be written, or the store keeps backups in a way of its own.
        """
