"""With which keys a message would be sealed at this moment, and why: ``send --explain``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from securerelay.cli.contacts import short
from securerelay.cli.exits import Failure
from securerelay.cli.output import Output, moment, plural

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from securerelay.client import Client
    from securerelay.client.sealing.sealing import Sealing

_PEER = """\
sealed for {to}, {level} since {since_}, fingerprint {short} ...
with keys number {bundle}, made {issued_}, fetched {fetched_}, good until {expires_}
prekey {prekey}, which {to} makes anew every hour
suite 1: HPKE with ML-KEM-768 and X25519, AES-256-GCM; signed by you inside"""

_ROOM = """\
sealed for {many} of {to}, list {version}, signed {time_} by {signer}
a key goes to: {ready}
not to: {without}
suite 2: AES-256-GCM under a key of yours for this list; signed by you inside"""


async def explain(client: Client, out: Output, to: str) -> None:
    """Say which keys would be used, without sending or making anything.

    Args:
        client: connected.
        out: where to.
        to: a peer or a room.

    Raises:
        Failure: if nothing would be sealed; it says why.
    """
    sealing = client.sealing
    assert sealing is not None, "commands keep a profile"
    if sealing.letter(to, None) is None:
        out.say({"to": to, "sealed": False}, "not sealed, since {to} is named as plain")
    elif to.startswith("@"):
        await _explain_room(sealing, out, to)
    else:
        await _explain_peer(sealing, out, to)


async def _explain_peer(sealing: Sealing, out: Output, to: str) -> None:
    keys = await _found(sealing.contacts.want(to), to)
    contact = await sealing.journal.do(lambda state: sealing.vault.contact(state, to), write=False)
    assert contact is not None, "whoever can be sealed for is pinned"
    bundle = keys.bundle
    record = {
        "to": to,
        "sealed": True,
        "suite": 1,
        "level": contact.pin.level.value,
        "since": contact.since or None,
        "fingerprint": keys.bound.hex(),
        "bundle": bundle.number,
        "issued": bundle.issued,
        "fetched": keys.fetched,
        "expires": bundle.expires,
        "prekey": bundle.prekey_id.hex(),
    }
    times = ("since", "issued", "fetched", "expires")
    readable = {f"{key}_": moment(record[key]) for key in times}
    _say(out, record, _PEER, short=short(keys.bound), **readable)


async def _explain_room(sealing: Sealing, out: Output, to: str) -> None:
    from securerelay.sealing import roomlist

    lists, me = sealing.rooms.lists, sealing.own.identity
    newest = await _found(lists.current(to), to)
    others = {name: fp for name, fp in newest.members.items() if fp != me.fp}
    await lists.meet(others)

    def pinned(name: str) -> bytes | None:
        pin = sealing.contacts.pin(name)
        return pin.fp if pin is not None else None

    ready, unknown, different = roomlist.recipients(newest, me.fp, pinned)
    names = {fp: name for name, fp in newest.members.items()}
    record = {
        "to": to,
        "sealed": True,
        "suite": 2,
        "version": newest.version,
        "time": newest.time,
        "owner": names.get(newest.owner),
        "signer": names.get(newest.signer),
        "members": sorted(newest.members),
        "ready": sorted(ready),
        "other_keys": sorted(different),
        "no_keys": sorted(unknown),
    }
    without = [f"{name} (its keys are not those listed)" for name in sorted(different)]
    without += [f"{name} (its keys are not to be had)" for name in sorted(unknown)]
    _say(
        *(out, record, _ROOM),
        many=plural(len(newest.members), "member"),
        time_=moment(newest.time),
        without=without or None,
    )


def _say(out: Output, record: dict[str, Any], template: str, **also: object) -> None:
    if out.json:
        out.say(record, "")
        return
    for line in template.splitlines():
        out.say(record, line, **also)


async def _found(asked: Awaitable[Any], to: str) -> Any:
    """Wait for keys or a list; what may not be used is told in its words."""
    from securerelay.sealing.verdicts import Rejected

    try:
        return await asked
    except Rejected as rejected:
        words = rejected.verdict.words(peer=to, room=to, since="more than 30 days ago")
        raise Failure(rejected.code, words) from None
