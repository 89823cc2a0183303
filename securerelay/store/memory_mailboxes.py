"""The streams and mailboxes of the store in memory."""

# ruff: noqa: D102 - securerelay.store.interface documents every method.

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from securerelay.store.answers import answered
from securerelay.store.interface import KEPT, MAX_REFUSALS
from securerelay.store.rows import (
    Accepted,
    Acked,
    Append,
    Duplicate,
    Expired,
    MailboxState,
    Receipt,
    Refuse,
    Rejected,
    StoredMessage,
    StreamRow,
    Usage,
    Verdict,
)


@dataclass
class _Stream:
    last: int
    used: int
    refusals: dict[int, str] = field(default_factory=dict)
    receipts: dict[tuple[int, str], Receipt] = field(default_factory=dict)


def _usage(messages: Iterable[StoredMessage]) -> dict[str, Usage]:
    """Sum messages up by sender."""
    found: dict[str, Usage] = {}
    for message in messages:
        before = found.get(message.sender, Usage())
        found[message.sender] = Usage(before.count + 1, before.size + len(message.body))
    return found


class MemoryMailboxes:
    """Streams and mailboxes, in dictionaries."""

    def __init__(self) -> None:
        self.is_open = False
        self._epoch = 0
        self._streams: dict[tuple[str, str], _Stream] = {}
        # In order of n, which is the order of insertion.
        self._mail: dict[str, dict[int, StoredMessage]] = {}
        self._highest: dict[str, int] = {}

    @answered
    def stream_open(self, sender: str, stream: str, answered: int, now: int) -> StreamRow:
        found = self._streams.get((sender, stream))
        if found is None:
            if answered:
                return StreamRow(0, known=False)
            found = self._streams[sender, stream] = _Stream(0, now)
        found.last = max(found.last, answered)
        found.used = now
        found.refusals = {seq: code for seq, code in found.refusals.items() if seq > answered}
        receipts = tuple(found.receipts[key] for key in sorted(found.receipts))
        return StreamRow(found.last, True, tuple(sorted(found.refusals.items())), receipts)

    @answered
    def append(self, batch: Sequence[Append | Refuse]) -> list[Verdict]:
        return [self._append(item) for item in batch]

    def _append(self, item: Append | Refuse) -> Verdict:
        stream = self._streams.get((item.sender, item.stream))
        if stream is None:
            return Rejected("new-stream")
        last = item.seq + (len(item.bodies) - 1 if isinstance(item, Append) else 0)
        if last <= stream.last:
            return Duplicate(stream.refusals.get(item.seq))
        if stream.last != (item.seq - 1 if item.after is None else item.after):
            return Rejected("gap")
        if isinstance(item, Refuse):
            if len(stream.refusals) >= MAX_REFUSALS:
                return Rejected("new-stream")
            stream.refusals[item.seq] = item.code
        else:
            if item.room_version is not None and item.room_version != self._room_version(item.to):
                return Rejected("room-changed")
            floor, count = self._epoch << 32, len(item.bodies)
            if any(n - count < self._highest.get(peer, floor) for peer, n in item.recipients):
                return Rejected("busy")
            for peer, n in item.recipients:
                self._highest[peer] = n
                mailbox = self._mail.setdefault(peer, {})
                for place, body in enumerate(item.bodies, 1 - count):
                    mailbox[n + place] = StoredMessage(
                        n + place, item.sender, item.to, item.stream, last + place, item.time,
                        item.expiry, item.receipt, body,
                    )  # fmt: skip
        stream.last = last
        stream.used = max(stream.used, item.time)
        return Accepted()

    @answered
    def fetch(
        self, peer: str, after: int, max_messages: int, max_bytes: int
    ) -> list[StoredMessage]:
        page: list[StoredMessage] = []
        size = 0
        for n, message in self._mail.get(peer, {}).items():
            if n <= after:
                continue
            size += len(message.body)
            if len(page) >= max_messages or (page and size > max_bytes):
                break
            page.append(message)
        return page

    @answered
    def ack(self, peer: str, upto: int, now: int) -> Acked:
        mailbox = self._mail.get(peer, {})
        gone = [message for n, message in mailbox.items() if n <= upto]
        receipts = [
            Receipt(message.sender, message.stream, message.seq, peer, now)
            for message in gone
            if message.receipt
        ]
        for message in gone:
            del mailbox[message.n]
        self._keep(receipts)
        return Acked(tuple(receipts), _usage(gone))

    @answered
    def receipts_keep(self, receipts: Sequence[Receipt]) -> None:
        self._keep(receipts)

    def _keep(self, receipts: Iterable[Receipt]) -> None:
        for receipt in receipts:
            stream = self._streams.get((receipt.sender, receipt.stream))
            if stream is not None:
                stream.receipts[receipt.seq, receipt.peer] = receipt

    @answered
    def receipts_told(self, receipts: Sequence[Receipt]) -> None:
        for receipt in receipts:
            stream = self._streams.get((receipt.sender, receipt.stream))
            if stream is not None:
                stream.receipts.pop((receipt.seq, receipt.peer), None)

    @answered
    def mailbox_state(self, peer: str) -> MailboxState:
        mailbox = self._mail.get(peer, {})
        senders = _usage(mailbox.values())
        total = Usage(len(mailbox), sum(usage.size for usage in senders.values()))
        return MailboxState(total, min(mailbox, default=0), max(mailbox, default=0), senders)

    @answered
    def mail_total(self) -> Usage:
        used = [one for mail in self._mail.values() for one in _usage(mail.values()).values()]
        return Usage(sum(one.count for one in used), sum(one.size for one in used))

    @answered
    def expire(self, now: int, limit: int = 1000) -> list[Expired]:
        due = sorted(
            (message.expiry, peer, n)
            for peer, mailbox in self._mail.items()
            for n, message in mailbox.items()
            if message.expiry <= now
        )
        expired = []
        for _, peer, n in due[:limit]:
            message = self._mail[peer].pop(n)
            receipt = Receipt(message.sender, message.stream, message.seq, peer, now, expired=True)
            expired.append(Expired(n, len(message.body), receipt))
        self._keep(row.receipt for row in expired)
        return expired

    def _tidy_mailboxes(self, now: int) -> None:
        for key, stream in list(self._streams.items()):
            if stream.used + KEPT <= now:
                del self._streams[key]

    def _room_version(self, name: str) -> int | None:
        raise NotImplementedError
