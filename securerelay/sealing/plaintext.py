"""What is inside an envelope: items, the sender's signature, and zeros that hide the length.

Direct envelopes and room messages have the same inside; they differ in what they are bound to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from securerelay import names
from securerelay.protocol.items import (
    HEADER,
    NUMBERS,
    PADDING,
    Field,
    Form,
    encode_item,
    exactly,
    number,
    u64,
)
from securerelay.protocol.sealed import SMALLEST
from securerelay.sealing.fingerprint import SIGNATURE_SIZE, Author, Identity
from securerelay.sealing.verdicts import Verdict, read, require

MAX_BODY = 1_000_000
MAX_SKIPPED = 64
MAX_HEADS = 8
STREAM_SIZE = 16

_STREAM, _SEQ, _TO, _INDEX, _TIME, _BUNDLE, _CONTENT_TYPE, _BODY = range(0x10, 0x18)
_SKIPPED, _HEADS, _REPLACES, _LOG_HEAD, _RECEIPT = range(0x18, 0x1D)
_SIGNATURE = 0x1F
_FORM = Form(
    {
        _STREAM: exactly(STREAM_SIZE),
        _SEQ: number(),
        _TO: Field(1, 33),
        _INDEX: number(),
        _TIME: number(),
        _BUNDLE: number(),
        _CONTENT_TYPE: Field(1, 127),
        _BODY: Field(0, MAX_BODY),
        _SKIPPED: Field(8, 8 * MAX_SKIPPED, step=8, optional=True),
        _HEADS: Field(24, 24 * MAX_HEADS, step=24, optional=True),
        _REPLACES: exactly(32, optional=True),
        _LOG_HEAD: exactly(40, optional=True),
        _RECEIPT: exactly(0, optional=True),
        _SIGNATURE: exactly(SIGNATURE_SIZE),
    },
    signature=_SIGNATURE,
    padded=True,
)
_TYPE = re.compile(r"[!-~](?:[ -~]*[!-~])?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message stands in its stream.

    Args:
        stream: 16 bytes.
        seq: its number among all of the stream.
        index: its number among those of the stream to the same recipient; 0 for live ones.
    """

    stream: bytes
    seq: int
    index: int


@dataclass(frozen=True, slots=True)
class Content:
    """What a sender says to a peer or a room.

    Args:
        stream: 16 bytes, as in SEND and MSG (there in base64url).
        seq: as in SEND and MSG.
        to: the peer or room.
        index: counts 1, 2, 3 in this stream to this recipient; 0 for messages with a ttl of 0.
        time: when it was written, Unix ms.
        bundle: the number of the sender's own newest bundle.
        content_type: what the body is, such as ``text/plain``; 1 to 127 printable characters.
        body: at most 1,000,000 bytes.
        skipped: indices that were finally refused, ascending, at most 64.
        heads: other streams to the same recipient with their last index that has an OK, at most 8.
        replaces: the refused or unreadable message that this one stands for.
        log_head: size and root of the largest key log that the sender has seen.
        receipt: whether its sender asks to be told by its recipient that it was read.
    """

    stream: bytes
    seq: int
    to: str
    index: int
    time: int
    bundle: int
    content_type: str
    body: bytes
    skipped: tuple[int, ...] = ()
    heads: tuple[tuple[bytes, int], ...] = ()
    replaces: Place | None = None
    log_head: tuple[int, bytes] | None = None
    receipt: bool = False


def padded_size(size: int) -> int:
    """Return what a length is padded to: Padmé (https://bford.info/pub/sec/purb.pdf), at least 256.

    The length then tells at most a few bits, for at most an eighth more bytes.

    Args:
        size: bytes of all items, the header of the padding included.
    """
    exponent = size.bit_length() - 1
    step = (1 << (exponent - exponent.bit_length())) - 1
    return max(SMALLEST, (size + step) & ~step)


def write(content: Content, author: Author, context: bytes, bound: bytes) -> bytes:
    """Return a plaintext, signed and padded.

    Args:
        content: what to say.
        author: who says it.
        context: what kind of message it is, a signing context.
        bound: what the message is bound to and the signature covers before the items, ``info``.

    Raises:
        ValueError: for content that a receiver would refuse.
    """
    if not _TYPE.fullmatch(content.content_type) or not _is_name(content.to.encode()):
        raise ValueError("no content type or recipient")
    if not _ascend(content.skipped) or not 0 <= content.index <= content.seq:
        raise ValueError("skipped indices that do not ascend, or an index above its seq")
    values = {
        _STREAM: content.stream,
        _SEQ: u64(content.seq),
        _TO: content.to.encode("ascii"),
        _INDEX: u64(content.index),
        _TIME: u64(content.time),
        _BUNDLE: u64(content.bundle),
        _CONTENT_TYPE: content.content_type.encode("ascii"),
        _BODY: content.body,
    }
    if content.skipped:
        values[_SKIPPED] = b"".join(map(u64, content.skipped))
    if content.heads:
        values[_HEADS] = b"".join(stream + u64(index) for stream, index in content.heads)
    if content.replaces is not None:
        place = content.replaces
        values[_REPLACES] = place.stream + u64(place.seq) + u64(place.index)
    if content.log_head is not None:
        size, root = content.log_head
        values[_LOG_HEAD] = u64(size) + root
    if content.receipt:
        values[_RECEIPT] = b""
    unsigned = _FORM.write(values)
    signature = author.sign(context, bound + unsigned)
    return _pad(unsigned + encode_item(_SIGNATURE, signature))


def verify(plain: bytes, sender: Identity, context: bytes, bound: bytes) -> Content:
    """Read a plaintext and verify that its sender signed it.

    Args:
        plain: as it was opened.
        sender: who should have signed it.
        context: what kind of message it is, a signing context.
        bound: as for :func:`write`.

    Raises:
        Rejected: ``altered``.
    """
    items = read(_FORM, plain, Verdict.ALTERED)
    values = items.values
    _require(len(plain) == padded_size(items.size + HEADER), "padded to another length")
    _require(
        sender.signed(context, bound + items.signed, values[_SIGNATURE]),
        "the signature does not verify",
    )
    to, content_type = values[_TO], values[_CONTENT_TYPE].decode("latin-1")
    _require(_is_name(to), "for no name")
    _require(_TYPE.fullmatch(content_type) is not None, "no content type")
    skipped = _numbers(values.get(_SKIPPED, b""))
    _require(_ascend(skipped), "skipped indices do not ascend")
    seq, index = items.number(_SEQ), items.number(_INDEX)
    _require(index <= seq, "an index above its seq")
    return Content(
        stream=values[_STREAM],
        seq=seq,
        to=to.decode("ascii"),
        index=index,
        time=items.number(_TIME),
        bundle=items.number(_BUNDLE),
        content_type=content_type,
        body=values[_BODY],
        skipped=skipped,
        heads=_heads(values.get(_HEADS, b"")),
        replaces=_place(values.get(_REPLACES)),
        log_head=_log_head(values.get(_LOG_HEAD)),
        receipt=_RECEIPT in values,
    )


def _pad(items: bytes) -> bytes:
    size = len(items) + HEADER
    return items + encode_item(PADDING, bytes(padded_size(size) - size))


def _is_name(name: bytes) -> bool:
    return names.is_peer(name) or names.is_room(name)


def _ascend(numbers: tuple[int, ...]) -> bool:
    """Tell whether numbers rise strictly, from 1 on."""
    return all(one < other for one, other in pairwise((0, *numbers)))


def _number(data: bytes) -> int:
    value = int.from_bytes(data, "big")
    _require(value < NUMBERS, "too high a number")
    return value


def _numbers(data: bytes) -> tuple[int, ...]:
    return tuple(_number(data[at : at + 8]) for at in range(0, len(data), 8))


def _heads(data: bytes) -> tuple[tuple[bytes, int], ...]:
    return tuple(
        (data[at : at + 16], _number(data[at + 16 : at + 24])) for at in range(0, len(data), 24)
    )


def _place(data: bytes | None) -> Place | None:
    return None if data is None else Place(data[:16], *_numbers(data[16:]))


def _log_head(data: bytes | None) -> tuple[int, bytes] | None:
    return None if data is None else (_number(data[:8]), data[8:])


def _require(holds: bool, otherwise: str) -> None:
    require(holds, Verdict.ALTERED, otherwise)
