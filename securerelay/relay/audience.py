"""A message to a room: one body, one entry, and a place in the mailbox of every other member.

Each member's mailbox decides for itself, as it does for mail to one peer.  Who is here and keeps up
is handed the message at once; for who is not, it waits.  All places go to the store in one append.
A member who acknowledges before that needs no place there, and if all do, nothing is written.

A member whose mailbox is full must not keep the message from the others, so he misses it, and the
sender is told by an event ``missed``, kept as receipts are.  A message that everybody would miss is
refused with ``mailbox-full``.  With ttl 0 a message is for whoever takes it now; if nobody does, it
is refused with ``offline``.

A message counts for one, and one more for every eight members, against its sender's rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from securerelay.protocol import messages
from securerelay.relay.entry import BOUND, GONE, QUEUED, STORED, Entry
from securerelay.relay.screen import Screen
from securerelay.store.rows import Append, Receipt, Refuse

if TYPE_CHECKING:
    from securerelay.relay.mailbox import Mailbox, Share
    from securerelay.relay.stream import Stream

MEMBERS_FOR_ONE = 8
"""Members to whom handing a message costs about as much as one message to one peer."""


class RoomEntry(Entry):
    """A message to a room, until everybody's copy is acknowledged or stored.

    Args:
        stream: the sender's.
        seq: its number there.
        to: the room.
        audience: the way to its members.
        time: when it came, Unix ms.
        expiry: when it is no longer wanted, Unix ms.
        receipt: whether the sender wants to know of each acknowledgement.
        body: opaque.
        state: QUEUED or LIVE.
    """

    __slots__ = ("audience", "missed", "places", "tail")

    def __init__(
        self,
        stream: Stream,
        seq: int,
        to: bytes,
        audience: Audience,
        time: int,
        expiry: int,
        receipt: bool,
        body: bytes,
        state: int,
    ) -> None:
        state = BOUND if state == QUEUED else state
        super().__init__(stream, seq, to, None, time, expiry, receipt, body, state)
        self.audience = audience
        self.places: dict[Mailbox, tuple[Share, int, bool]] = {}
        self.missed: list[Receipt] = []
        self.tail = messages.msg_tail(stream.peer.name, to, stream.id, seq, time, len(body))

    def header(self, number: int) -> bytes:
        """See :meth:`Entry.header`."""
        return b"MSG %d%b" % (number, self.tail)

    def misses(self, name: str) -> None:
        """Note that a member does not get it; kept before the message, so it is never silent."""
        stream = self.stream
        receipt = Receipt(stream.peer.text, stream.text, self.seq, name, self.time, missed=True)
        self.missed.append(receipt)
        stream.peer.router.journal.keep(receipt)

    def early(self, mailbox: Mailbox) -> None:
        """See :meth:`Entry.early`: this member needs nothing from the disk."""
        place = self.places.pop(mailbox, None)
        if place is None:
            return
        share, _, counted = place
        if counted:
            share.subtract(1, len(self.body))
        if not self.places and not self.missed:
            self.state = GONE
            self.stream.settle(self)

    def row(self) -> Append | Refuse:
        """See :meth:`Entry.row`; good only while the room has the members it was taken for."""
        row = super().row()
        assert isinstance(row, Append)
        return row._replace(room_version=self.audience.version)

    def recipients(self) -> tuple[tuple[str, int], ...]:
        """Name the mailbox and the number in it of each who has not acknowledged it."""
        return tuple((mailbox.text, place[1]) for mailbox, place in self.places.items())

    def committed(self, refused: str | None = None) -> None:
        """See :meth:`Entry.committed`."""
        self.state = STORED
        size = len(self.body)
        places, self.places = self.places, {}
        for mailbox, (share, n, counted) in places.items():
            if not counted:
                share.add(size)
            mailbox.committed(n)
        stream = self.stream
        stream.kept(self.seq)
        stream.tell(self.missed)
        stream.settle(self)

    def rejected(self, code: bytes) -> None:
        """See :meth:`Entry.rejected`; a room that changed is looked up again."""
        if code == b"room-changed":
            self.stream.routes.pop(self.to, None)
        super().rejected(code)

    def withdrawn(self) -> None:
        """See :meth:`Entry.withdrawn`."""
        self.state = GONE
        for share, _, counted in self.places.values():
            if counted:
                share.subtract(1, len(self.body))
        self.places.clear()
        for receipt in self.missed:
            self.stream.peer.router.journal.told(receipt)


class Audience:
    """The way from a sender to everybody else in a room; stands where a peer's ``Share`` does.

    Args:
        shares: the sender's, in the members' mailboxes.
        version: of the room with these members; None if the relay keeps it.
        screen: which bodies the room takes; None for all.
    """

    __slots__ = ("cost", "live", "screen", "shares", "version")

    kind = RoomEntry
    """What its messages are."""

    def __init__(self, shares: Sequence[Share], version: int | None, screen: Screen | None) -> None:
        self.shares = tuple(shares)
        self.version = version
        self.screen = screen
        self.cost = 1 + len(self.shares) // MEMBERS_FOR_ONE
        self.live = False

    @property
    def mailbox(self) -> Audience:
        """Itself: it takes what is sent."""
        return self

    def offer(self, entry: RoomEntry, _: object) -> bytes | None:
        """Take a message that is to be kept, for everyone whose mailbox has room.

        Args:
            entry: the message.

        Returns:
            ``mailbox-full`` if it has none with anybody, else None.
        """
        places = entry.places
        missed: list[Share] = []
        for share in self.shares:
            entry.counted = False
            if share.mailbox.offer(entry, share) is None:
                places[share.mailbox] = (share, entry.n, entry.counted)
            else:
                missed.append(share)
        if missed and not places:
            return b"mailbox-full"
        for share in missed:
            entry.misses(share.mailbox.text)
        # A moment's patience saves a row for each who is here.
        self.live = sum(not counted for _, _, counted in places.values()) * 2 > len(places)
        return None

    def pass_on(self, entry: RoomEntry) -> bytes | None:
        """Hand a message with ttl 0 to whoever takes it now; ``offline`` if nobody does."""
        taken = False
        for share in self.shares:
            if share.mailbox.pass_on(entry) is None:
                taken = True
        return None if taken else b"offline"
