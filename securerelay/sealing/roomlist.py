"""Rooms' membership lists, signed by the owner or by an admin whom the owner named in a grant."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from securerelay import names
from securerelay.crypto import contexts, primitives
from securerelay.protocol.items import Field, Form, Items, encode_item, exactly, number, u64
from securerelay.sealing.fingerprint import FP_SIZE, SIGNATURE_SIZE, Author, Identity
from securerelay.sealing.verdicts import Rejected, Verdict, read, require

MAX_MEMBERS = 300
MAX_ADMINS = 16
ROOM_ID_SIZE = 16
HELD = 16 * 86_400_000
"""Milliseconds for which messages under a list that was followed by another are still taken."""

_GRANT_FORM = Form(
    {
        0x01: exactly(ROOM_ID_SIZE),
        0x02: number(),
        0x03: Field(0, FP_SIZE * MAX_ADMINS, step=FP_SIZE),
        0x1F: exactly(SIGNATURE_SIZE),
    },
    signature=0x1F,
)
_NAME, _ROOM_ID, _VERSION, _TIME, _OWNER, _GRANT, _MEMBERS, _SIGNER = range(0x01, 0x09)
_SIGNATURE = 0x1F
_MEMBER_MOST = FP_SIZE + 1 + names.MAX_LENGTH
_FORM = Form(
    {
        _NAME: Field(2, names.MAX_LENGTH + 1),
        _ROOM_ID: exactly(ROOM_ID_SIZE),
        _VERSION: number(),
        _TIME: number(),
        _OWNER: exactly(FP_SIZE),
        _GRANT: Field(1, 4096),
        _MEMBERS: Field(0, _MEMBER_MOST * MAX_MEMBERS),
        _SIGNER: exactly(FP_SIZE),
        _SIGNATURE: exactly(SIGNATURE_SIZE),
    },
    signature=_SIGNATURE,
)

FindIdentity = Callable[[bytes], Identity | None]
"""Returns who has a fingerprint (32 bytes), from bundles that were read; None if unknown."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Who may sign a room's lists besides its owner.

    Args:
        raw: as the owner signed it.
        room_id: 16 bytes.
        number: never falls.
        admins: fingerprints.
        signed: what the owner signed.
        signature: the owner's.
    """

    raw: bytes = field(repr=False)
    room_id: bytes
    number: int
    admins: tuple[bytes, ...]
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class RoomList:
    """A membership list.

    Args:
        raw: as it came.
        name: the room's name.
        room_id: 16 bytes.
        version: rises by one with each change.
        time: when it was signed, Unix ms.
        owner: fingerprint.
        grant: who else may sign.
        members: fingerprints by name, in the order of names.
        signer: fingerprint.
        signed: what the signer signed.
        signature: the signer's.
    """

    raw: bytes = field(repr=False)
    name: str
    room_id: bytes
    version: int
    time: int
    owner: bytes
    grant: Grant
    members: Mapping[str, bytes]
    signer: bytes
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @property
    def hash(self) -> bytes:
        """SHA-384 of the list, 48 bytes."""
        return primitives.sha384(self.raw)

    def has(self, fp: bytes) -> bool:
        """Tell whether somebody is a member."""
        return fp in self.members.values()


@dataclass(frozen=True, slots=True)
class RoomPin:
    """What is held on to about a room.

    Args:
        room_id: 16 bytes.
        owner: fingerprint.
        version: of the newest list held.
        hash: of that list, 48 bytes.
        grant: the newest grant seen.
    """

    room_id: bytes
    owner: bytes
    version: int
    hash: bytes
    grant: Grant


def build_grant(owner: Author, room_id: bytes, number: int, admins: Sequence[bytes]) -> bytes:
    """Return a grant.

    Args:
        owner: of the room.
        room_id: 16 bytes.
        number: higher than that of any grant before.
        admins: fingerprints, at most 16.
    """
    unsigned = _GRANT_FORM.write(
        {0x01: room_id, 0x02: u64(number), 0x03: b"".join(sorted(set(admins)))}
    )
    return unsigned + encode_item(0x1F, owner.sign(contexts.E2E_GRANT, unsigned))


def build(
    signer: Author,
    *,
    name: str,
    room_id: bytes,
    version: int,
    time: int,
    owner: bytes,
    grant: bytes,
    members: Mapping[str, bytes],
) -> bytes:
    """Return a membership list.

    Args:
        signer: the owner or an admin.
        name: the room's.
        room_id: 16 random bytes, made with the room.
        version: 1 for the first list, then one more each time.
        time: Unix ms.
        owner: fingerprint.
        grant: from :func:`build_grant`.
        members: fingerprints by name, at most 300.

    Raises:
        ValueError: if that is no list which others would take.
    """
    if len(members) > MAX_MEMBERS:
        raise ValueError(f"{len(members)} members; at most {MAX_MEMBERS}")
    unsigned = _FORM.write(
        {
            _NAME: name.encode("ascii"),
            _ROOM_ID: room_id,
            _VERSION: u64(version),
            _TIME: u64(time),
            _OWNER: owner,
            _GRANT: grant,
            _MEMBERS: b"".join(
                fp + bytes((len(member),)) + member.encode("ascii")
                for member, fp in sorted(members.items())
            ),
            _SIGNER: signer.identity.fp,
        }
    )
    return unsigned + encode_item(_SIGNATURE, signer.sign(contexts.E2E_LIST, unsigned))


def parse(raw: bytes, name: str) -> RoomList:
    """Read a list without believing it: to find out whose keys are needed for :func:`verify`.

    Args:
        raw: as the relay served it.
        name: the room that was asked for.

    Raises:
        Rejected: ``list-bad`` for what is no list of this room.
    """
    items = read(_FORM, raw, Verdict.LIST_BAD)
    values = items.values
    _require(values[_NAME] == name.encode("ascii"), "of another room")
    grant = _parse_grant(values[_GRANT])
    _require(grant.room_id == values[_ROOM_ID], "with the grant of another room")
    return RoomList(
        raw,
        name,
        values[_ROOM_ID],
        items.number(_VERSION),
        items.number(_TIME),
        values[_OWNER],
        grant,
        _parse_members(values[_MEMBERS]),
        values[_SIGNER],
        items.signed,
        values[_SIGNATURE],
    )


def verify(one: RoomList, find: FindIdentity) -> None:
    """Check who signed a list and its grant.

    Args:
        one: the list.
        find: knows the owner and the signer.

    Raises:
        Rejected: ``unchecked`` if either is unknown; ``list-bad``.
    """
    _require(one.signer == one.owner or one.signer in one.grant.admins, "signed by a mere member")
    owner, signer = find(one.owner), find(one.signer)
    if owner is None or signer is None:
        raise Rejected(Verdict.UNCHECKED, "the keys of the owner or signer are not known")
    _require(
        owner.signed(contexts.E2E_GRANT, one.grant.signed, one.grant.signature),
        "with a grant that its owner did not sign",
    )
    _require(
        signer.signed(contexts.E2E_LIST, one.signed, one.signature),
        "whose signature does not verify",
    )


def take(one: RoomList, pin: RoomPin | None, successor: bytes | None = None) -> RoomPin:
    """Hold a verified list against what is pinned about its room.

    Args:
        one: verified.
        pin: of the room; None at first sight.
        successor: the fingerprint that followed the pinned owner's, if its contact's pin moved.

    Returns:
        The next pin, the same one for the list that is held already.

    Raises:
        Rejected: ``room-changed-hands``, ``list-rollback`` or ``room-conflict``; the list held
            then stays.
    """
    new = RoomPin(one.room_id, one.owner, one.version, one.hash, one.grant)
    if pin is None:
        return new
    require(
        one.room_id == pin.room_id and one.owner in (pin.owner, successor),
        Verdict.ROOM_CHANGED_HANDS,
        "another room or owner under the name",
    )
    require(
        one.version >= pin.version and one.grant.number >= pin.grant.number,
        Verdict.LIST_ROLLBACK,
        f"version {one.version} after {pin.version}, or an older grant",
    )
    require(
        one.version > pin.version or one.hash == pin.hash,
        Verdict.ROOM_CONFLICT,
        f"two lists of version {one.version}",
    )
    require(
        one.grant.number > pin.grant.number or one.grant.raw == pin.grant.raw,
        Verdict.ROOM_CONFLICT,
        f"two grants with number {one.grant.number}",
    )
    return new


def stand(
    newest: RoomList, version: int, sender: bytes, follows: Collection[bytes] = ()
) -> Verdict | None:
    """Tell what is to be said about a message of a room, from its header alone.

    Args:
        newest: the newest list held.
        version: of the list that the message was sent under.
        sender: the sender's fingerprint.
        follows: fingerprints that followed it, by the pin of its contact.

    Returns:
        None, or ``old-list`` if it went to the members of an older version.

    Raises:
        Rejected: ``list-needed`` for a version not held yet; ``removed-member``.
    """
    require(version <= newest.version, Verdict.LIST_NEEDED, f"version {version} is not held")
    require(
        any(newest.has(fp) for fp in (sender, *follows)),
        Verdict.REMOVED_MEMBER,
        "the sender is not in the newest list",
    )
    return Verdict.OLD_LIST if version < newest.version else None


def recipients(
    one: RoomList, me: bytes, pinned: Callable[[str], bytes | None]
) -> tuple[dict[str, bytes], list[str], list[str]]:
    """Sort the members of a room by who gets a room key.

    Args:
        one: the newest list.
        me: our own fingerprint.
        pinned: returns the fingerprint pinned for a name, None if it is unknown so far.

    Returns:
        Who gets it, with fingerprints; who has to be pinned first, with the fingerprint listed;
        and who gets none, because another fingerprint is pinned.
    """
    ready: dict[str, bytes] = {}
    unknown: list[str] = []
    different: list[str] = []
    for name, fp in one.members.items():
        if fp == me:
            continue
        known = pinned(name)
        if known is None:
            unknown.append(name)
        elif known == fp:
            ready[name] = fp
        else:
            different.append(name)
    return ready, unknown, different


def _parse_grant(raw: bytes) -> Grant:
    items: Items = read(_GRANT_FORM, raw, Verdict.LIST_BAD)
    packed = items.values[0x03]
    admins = tuple(packed[at : at + FP_SIZE] for at in range(0, len(packed), FP_SIZE))
    return Grant(
        raw, items.values[0x01], items.number(0x02), admins, items.signed, items.values[0x1F]
    )


def _parse_members(packed: bytes) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    position, previous = 0, b""
    while position < len(packed):
        start = position + FP_SIZE + 1
        end = start + packed[start - 1] if start <= len(packed) else len(packed) + 1
        name = packed[start:end]
        _require(end <= len(packed) and names.is_peer(name), "with a member of no name")
        _require(name > previous, "with members out of order")
        members[name.decode("ascii")] = packed[position : position + FP_SIZE]
        position, previous = end, name
    _require(len(members) <= MAX_MEMBERS, "with too many members")
    _require(len(set(members.values())) == len(members), "with one member twice")
    return members


def _require(holds: bool, otherwise: str) -> None:
    require(holds, Verdict.LIST_BAD, f"a list {otherwise}")
