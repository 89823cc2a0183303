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

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from securerelay.protocol import messages
from securerelay.relay.entry import BOUND, GONE, STORED, Entry, Offered, Passed, Run
from securerelay.relay.journal import MOST_PATIENCE, PATIENCE, PATIENCE_EACH
from securerelay.relay.screen import Screen
from securerelay.store.rows import Append, Receipt, Refuse

if TYPE_CHECKING:
    from securerelay.relay.mailbox import Mailbox, Share
    from securerelay.relay.stream import Stream

MEMBERS_FOR_ONE = 8
"""Members to whom handing a message costs about as much as one message to one peer."""


class RoomRun(Run):
    """Messages with ttl 0 to a room; arguments as for :class:`Run`."""

    __slots__ = ("tails",)

    def __init__(
        self,
        stream: Stream,
        seq: int,
        place: bytes,
        time: int,
        receipt: bool,
        bodies: Sequence[bytes],
        size: int,
    ) -> None:
        super().__init__(stream, seq, place, time, receipt, bodies, size)
        self.tails = [
            messages.msg_tail(place, number, time, len(body))
            for number, body in enumerate(bodies, seq)
        ]

    def said(self, number: int) -> list[bytes]:
        """See :meth:`Run.said`; each member gets the same but for the number."""
        return messages.msg_run_again(number, self.tails, self.bodies)


class RoomEntry(Entry):
    """A message to a room, until everybody's copy is acknowledged or stored.

    Args:
        sent: it and what came with it.
        seq: its number in the stream.
        body: opaque.
        audience: the way to the members.
    """

    __slots__ = ("audience", "awaited", "missed", "places", "tail")

    def __init__(self, sent: Entry, seq: int, body: bytes, audience: Audience) -> None:
        super().__init__(
            sent.stream,
            seq,
            sent.to,
            sent.place,
            None,
            sent.time,
            sent.expiry,
            sent.receipt,
            (body,),
            len(body),
            BOUND,
        )
        self.audience = audience
        self.awaited = 0
        self.places: dict[Mailbox, tuple[Share, int, bool]] = {}
        self.missed: list[Receipt] = []
        self.tail = messages.msg_tail(sent.place, seq, sent.time, len(body))

    def said(self, number: int) -> list[bytes]:
        """See :meth:`Run.said`; each member gets the same but for the number."""
        return [messages.msg_again(number, self.tail), *self.bodies]

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
            share.subtract(1, self.size)
        else:
            self.awaited -= 1
        if not self.places and not self.missed:
            self.state = GONE
            self.stream.settle(self)
        elif not self.awaited:
            self.stream.peer.router.journal.hurry()

    def row(self) -> Append | Refuse:
        """See :meth:`Entry.row`; good only while the room has the members it was taken for."""
        row = super().row()
        assert isinstance(row, Append)
        return row._replace(room_version=self.audience.version)

    def recipients(self) -> tuple[tuple[str, int], ...]:
        """Name the mailbox and the number in it of each who has not acknowledged it."""
        return tuple((mailbox.text, place[1]) for mailbox, place in self.places.items())

    def committed(self, reached: dict[Mailbox, int], refused: str | None = None) -> None:
        """See :meth:`Entry.committed`."""
        self.state = STORED
        self.settled = True
        places, self.places = self.places, {}
        for mailbox, (share, n, counted) in places.items():
            if not counted:
                share.add(1, self.size)
            reached[mailbox] = n
        stream = self.stream
        stream.kept(self.seq)
        stream.tell(self.missed)

    def rejected(self, code: bytes) -> None:
        """See :meth:`Entry.rejected`; a room that changed is looked up again."""
        if code == b"room-changed":
            self.stream.routes.pop(self.to, None)
        super().rejected(code)

    def withdrawn(self) -> Iterable[Mailbox]:
        """See :meth:`Entry.withdrawn`."""
        self.state = GONE
        places, self.places = self.places, {}
        for share, _, counted in places.values():
            if counted:
                share.subtract(1, self.size)
        for receipt in self.missed:
            self.stream.peer.router.journal.told(receipt)
        return places


class Audience:
    """The way from a sender to everybody else in a room; stands where a peer's ``Share`` does.

    Args:
        shares: the sender's, in the members' mailboxes.
        version: of the room with these members; None if the relay keeps it.
        screen: which bodies the room takes; None for all.
    """

    __slots__ = ("cost", "patience", "screen", "shares", "version")

    run = RoomRun
    """What messages with ttl 0 are that go this way."""

    def __init__(self, shares: Sequence[Share], version: int | None, screen: Screen | None) -> None:
        self.shares = tuple(shares)
        self.version = version
        self.screen = screen
        self.cost = 1 + len(self.shares) // MEMBERS_FOR_ONE
        self.patience = 0.0

    @property
    def mailbox(self) -> Audience:
        """Itself: it takes what is sent."""
        return self

    def offer(self, entry: Entry, _: object) -> Offered:
        """Take messages that are to be kept, for everyone whose mailbox has room.

        Args:
            entry: the messages.

        Returns:
            What was taken, and ``mailbox-full`` if nobody has room for the next.
        """
        taken: list[RoomEntry] = []
        for seq, body in enumerate(entry.bodies, entry.seq):
            one = RoomEntry(entry, seq, body, self)
            if not self._offer(one):
                return taken, b"mailbox-full"
            taken.append(one)
            here, away = one.awaited, len(self.shares) - one.awaited
            # Waiting saves a row for each who is here, unless too many are away.
            patience = min(max(PATIENCE, here * PATIENCE_EACH), MOST_PATIENCE)
            self.patience = patience if here > away else 0.0
        return taken, None

    def _offer(self, entry: RoomEntry) -> bool:
        """Take one message; False if nobody has room for it."""
        missed: list[Share] = []
        for share in self.shares:
            mailbox = share.mailbox
            taken, _ = mailbox.offer(entry, share)
            if taken:
                entry.places[mailbox] = share, entry.n, entry.counted
                entry.awaited += not entry.counted
                entry.counted = False
            else:
                missed.append(share)
        if missed and not entry.places:
            return False
        for share in missed:
            entry.misses(share.mailbox.text)
        return True

    def pass_on(self, run: RoomRun) -> Passed:
        """Hand messages with ttl 0 to whoever takes them now; ``offline`` if nobody does."""
        taken = max((share.mailbox.pass_on(run)[0] for share in self.shares), default=0)
        return taken, None if taken == len(run.bodies) else b"offline"
