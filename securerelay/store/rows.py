"""What goes into a store and what comes out: immutable rows without behaviour.

Names, stream ids and roles are ``str``; ids, hashes, keys and bodies ``bytes``; times ``int``,
Unix milliseconds; sizes bytes.  The two rows that exist once for every message are named tuples,
which are made three times as fast as frozen dataclasses.
"""

# More than 400 lines: every row there is, in one place.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

PeerState = Literal["active", "revoked", "closed"]
InvitationState = Literal["open", "used", "withdrawn"]
LogKind = Literal["issued", "renewed", "revoked", "closed"]


@dataclass(frozen=True, slots=True)
class Durability:
    """What ``open`` found, measured rather than assumed.

    Attributes:
        epoch: rises at every open and is committed before it is told, so ``epoch << 32 | counter``
            never repeats.
        durable: True if what is answered has been synced to disk.
        engine: for the log, such as ``"sqlite 3.40.1"``.
        created: True if there was no store before.
    """

    epoch: int
    durable: bool
    engine: str
    created: bool


@dataclass(frozen=True, slots=True)
class CertificateRow:
    """One certificate that the authority issued to a peer.

    Attributes:
        name: the peer it names.
        der: the certificate.
        sha256: its hash, 32 bytes.
        spki: the peer's SubjectPublicKeyInfo in DER.
        serial: its serial number.
        not_after: when it expires.
        issued: when it was issued.
    """

    name: str
    der: bytes
    sha256: bytes
    spki: bytes
    serial: int
    not_after: int
    issued: int


@dataclass(frozen=True, slots=True)
class PeerRow:
    """A name in the directory; it is never deleted and never given to another.

    Attributes:
        name: the peer's name.
        state: ``active``, or for ever ``revoked`` or ``closed``.
        certificate: the certificate that counts now; every earlier one is replaced.
        roles: what the peer may do besides sending and receiving, sorted.
        created: when it enrolled.
        ended: when it was revoked or closed, None while active.
        revision: of the revocation that ended it, 0 while active.
    """

    name: str
    state: PeerState
    certificate: CertificateRow
    roles: tuple[str, ...]
    created: int
    ended: int | None = None
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Revocation:
    """One end of a name, in the order in which they were committed."""

    revision: int
    name: str
    time: int


@dataclass(frozen=True, slots=True)
class InvitationRow:
    """A one-time permission to enrol under a name (SR1 section 6).

    Attributes:
        token: 6 bytes.
        public_key: Ed25519, 32 bytes.
        name: the newcomer's name.
        roles: what it will be allowed to do, sorted.
        expiry: when it can no longer be used.
        created: when it was made.
        created_by: the peer who made it, or empty for the administrator.
        state: ``used`` and ``withdrawn`` are kept for 30 days, so that a late newcomer hears the
            reason.
        used: when it was used.
        certificate_sha256: of the certificate that it brought, 32 bytes.
        disputed: when somebody first came with it and another key, until that is acknowledged.
    """

    token: bytes
    public_key: bytes
    name: str
    roles: tuple[str, ...]
    expiry: int
    created: int
    created_by: str = ""
    state: InvitationState = "open"
    used: int | None = None
    certificate_sha256: bytes | None = None
    disputed: int | None = None


@dataclass(frozen=True, slots=True)
class Consumed:
    """What an invitation brought.

    Attributes:
        peer: the newcomer.
        certificate: the certificate to hand over; on a repeat the one of the first time.
        repeated: True if the same key had used the invitation before.
    """

    peer: PeerRow
    certificate: CertificateRow
    repeated: bool


@dataclass(frozen=True, slots=True)
class LogRow:
    """One leaf of the key log, written in the transaction that it tells of.

    Attributes:
        index: counts from 0 without gaps.
        kind: what happened.
        time: when.
        name: to whom.
        spki_sha256: the hash of the key.
        certificate_sha256: the hash of the certificate.
    """

    index: int
    kind: LogKind
    time: int
    name: str
    spki_sha256: bytes
    certificate_sha256: bytes


@dataclass(frozen=True, slots=True)
class TicketRow:
    """A resumption ticket (SR1 section 3); its id itself is never stored.

    Attributes:
        id_sha256: the hash of the ticket's id, 32 bytes.
        psk: 48 bytes; encrypted at rest.
        name: whose ticket it is.
        certificate_sha256: of the certificate with which the peer authenticated.
        auth_time: when it did.
        expiry: when the ticket dies.
        session_id: of the session that got the ticket.
    """

    id_sha256: bytes
    psk: bytes = field(repr=False)
    name: str
    certificate_sha256: bytes
    auth_time: int
    expiry: int
    session_id: bytes


@dataclass(frozen=True, slots=True)
class Redeemed:
    """A ticket just taken out of the store, and the peer whose it was."""

    ticket: TicketRow
    peer: PeerRow


class Append(NamedTuple):
    """Messages of one stream that follow each other, to keep or only to count.

    Attributes:
        sender: who sends.
        stream: the sending stream, which ``stream_open`` has opened.
        seq: the first one's number in the stream.
        to: what the sender addressed, a peer or ``@room``.
        recipients: mailbox and the last one's number in it, for each who gets them; empty if nobody
            needs them from disk any more, then the stream alone moves on.
        time: when the relay took them.
        expiry: when they are no longer wanted.
        receipt: True if the sender wants to know of the acknowledgement.
        bodies: opaque, at least one; one after the other in the stream and in each mailbox.
        after: the seq that the store must have consumed last for this to be in order; None is
            ``seq - 1``.  A relay that had earlier seqs acknowledged without storing them names the
            last one that it did hand over.
        room_version: the version of room ``to`` from which the recipients were taken, None if no
            room.
    """

    sender: str
    stream: str
    seq: int
    to: str
    recipients: tuple[tuple[str, int], ...]
    time: int
    expiry: int
    receipt: bool
    bodies: Sequence[bytes]
    after: int | None = None
    room_version: int | None = None


class Refuse(NamedTuple):
    """A final no to one message, remembered to be said again; fields as in :class:`Append`."""

    sender: str
    stream: str
    seq: int
    code: str
    time: int
    after: int | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The item is committed: messages are kept, or a refusal is remembered."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The seq was consumed before, and those of all messages with it.

    Attributes:
        code: of the refusal that it got then, None if it was accepted.
    """

    code: str | None


@dataclass(frozen=True, slots=True)
class Rejected:
    """Nothing was stored and the seq is not consumed.

    Attributes:
        code: ``gap`` (an earlier seq is missing), ``new-stream`` (the stream is unknown, or has
            too many refusals), ``room-changed`` (another version by now), or ``busy`` (a number
            did not rise in its mailbox).
    """

    code: str


Verdict = Accepted | Duplicate | Rejected


class StoredMessage(NamedTuple):
    """One message in a mailbox; fields as in :class:`Append`, ``n`` is its number there."""

    n: int
    sender: str
    to: str
    stream: str
    seq: int
    time: int
    expiry: int
    receipt: bool
    body: bytes


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of a mailbox is taken."""

    count: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class MailboxState:
    """What a mailbox holds.

    Attributes:
        total: of all messages.
        first: the lowest number kept, 0 if empty.
        last: the highest number kept, 0 if empty.
        senders: each sender's part.
    """

    total: Usage
    first: int
    last: int
    senders: Mapping[str, Usage]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one message at one recipient, kept until the sender has been told.

    Attributes:
        sender: who sent it.
        stream: in which stream.
        seq: its number in the stream.
        peer: the recipient.
        time: when it was acknowledged, or when it expired.
        expired: True if it was never acknowledged.
        missed: True if it never came into the mailbox, which was full.
    """

    sender: str
    stream: str
    seq: int
    peer: str
    time: int
    expired: bool = False
    missed: bool = False


@dataclass(frozen=True, slots=True)
class StreamRow:
    """A sending stream.

    Attributes:
        last: the last consumed seq.
        known: False if the stream was forgotten; its sender must open another.
        refusals: seq and code of each that is remembered, rising.
        receipts: those not yet told, in order of seq and peer.
    """

    last: int
    known: bool
    refusals: tuple[tuple[int, str], ...] = ()
    receipts: tuple[Receipt, ...] = ()


@dataclass(frozen=True, slots=True)
class Acked:
    """What an acknowledgement did.

    Attributes:
        receipts: those that senders asked for, kept until ``receipts_told``.
        freed: what became free, by sender.
    """

    receipts: tuple[Receipt, ...]
    freed: Mapping[str, Usage]


@dataclass(frozen=True, slots=True)
class Expired:
    """A message that was removed because its time had come.

    Attributes:
        n: its number in the mailbox of ``receipt.peer``.
        size: of its body.
        receipt: what its sender is to be told; kept until ``receipts_told``.
    """

    n: int
    size: int
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class RoomRow:
    """A room.

    Attributes:
        name: with its ``@``.
        owner: the peer who decides.
        version: rises with every change.
        join: ``open`` to everybody or by the owner's ``invitation``.
        post: who may send to it, ``members`` or the ``owner``.
        created: when.
        members: sorted.
        listed: the version of the newest signed list of its members, 0 if it has none.
    """

    name: str
    owner: str
    version: int
    join: str
    post: str
    created: int
    members: tuple[str, ...]
    listed: int = 0


@dataclass(frozen=True, slots=True)
class RoomListRow:
    """A signed list of a room's members, as its signer made it.

    Attributes:
        room: the room's name.
        version: of the list; counts 1, 2, 3, apart from the room's own.
        raw: the list.
    """

    room: str
    version: int
    raw: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Published:
    """What a peer lets others seal with.

    Attributes:
        name: the peer's.
        state: as in :class:`PeerRow`.
        number: of the bundle; 0 if none was ever published.
        bundle: the last one.
        leaf: of the key log, where the certificate in that bundle was issued.
    """

    name: str
    state: PeerState
    number: int = 0
    bundle: bytes = field(default=b"", repr=False)
    leaf: LogRow | None = None
