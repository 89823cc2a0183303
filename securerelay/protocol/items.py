"""Items: type(1) || length(4) || value, how SR1 writes everything that is hashed, signed or sealed.

:func:`encode_item` serves transcripts and AUTH, where the order of the items is the protocol's.
:class:`Form` reads what people sign for each other: types ascend strictly, so that each occurs once
and there is one way to write anything; unknown types below 80 (hexadecimal) are refused, those from
80 on are skipped, though they are signed like the rest.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from securerelay.errors import RemoteError

_HEADER = struct.Struct(">BI")
HEADER = _HEADER.size
"""Bytes before a value."""
PADDING = 0x00
"""The type of zeros that fill up what is sealed; the one item that comes last."""
IGNORED = 0x80
"""Types from here on mean nothing yet, and stop nobody from reading the rest."""
NUMBERS = 1 << 63
"""Numbers stay below this, so that every database can keep what somebody else signed."""


def encode_item(kind: int, value: bytes) -> bytes:
    """Return one item as it is hashed, signed and sent."""
    return _HEADER.pack(kind, len(value)) + value


def encode_items(items: Iterable[tuple[int, bytes]]) -> bytes:
    """Return items joined, in the order given."""
    return b"".join(encode_item(kind, value) for kind, value in items)


def u64(number: int) -> bytes:
    """Return a number as items have it: eight bytes, big endian.

    Raises:
        OverflowError: if it is negative or has more than 64 bits.
    """
    return number.to_bytes(8, "big")


@dataclass(frozen=True, slots=True)
class Field:
    """What one item of a form may be.

    Args:
        least: bytes at least.
        most: bytes at most.
        step: the length is a multiple of so many bytes.
        optional: whether the item may be missing.
        number: whether the value is a number, below :data:`NUMBERS`.
    """

    least: int
    most: int
    step: int = 1
    optional: bool = False
    number: bool = False

    def allows(self, value: bytes) -> bool:
        """Tell whether an item may have a value."""
        size = len(value)
        if not self.least <= size <= self.most or size % self.step:
            return False
        return not self.number or value[0] < 0x80


def exactly(size: int, *, optional: bool = False) -> Field:
    """Return the field of an item that always has ``size`` bytes."""
    return Field(size, size, optional=optional)


def number() -> Field:
    """Return the field of an item that is a number, as :func:`u64` writes it."""
    return Field(8, 8, number=True)


@dataclass(frozen=True, slots=True)
class Items:
    """Items that follow their form.

    Attributes:
        values: by type, without those that are ignored.
        signed: every item but the signature and the padding, as they came.
        size: bytes of everything up to the padding.
    """

    values: dict[int, bytes]
    signed: bytes
    size: int

    def number(self, kind: int) -> int:
        """Return an item's value as a number."""
        return int.from_bytes(self.values[kind], "big")


class Form:
    """One kind of structure, to read and to write.

    Args:
        fields: what belongs in it, by type.
        signature: the type of the signature over the other items; None if there is none.
        padded: whether a padding item of zeros ends it.
    """

    __slots__ = ("_fields", "_padded", "_required", "_signature")

    def __init__(
        self, fields: Mapping[int, Field], *, signature: int | None = None, padded: bool = False
    ) -> None:
        self._fields = dict(fields)
        self._required = frozenset(kind for kind, one in fields.items() if not one.optional)
        self._signature = signature
        self._padded = padded

    def write(self, values: Mapping[int, bytes]) -> bytes:
        """Return a structure up to where its signature belongs; padding is the caller's.

        Raises:
            ValueError: for values that :meth:`read` would refuse.
        """
        if not self._required - {self._signature} <= values.keys():
            raise ValueError("an item is missing")
        for kind, value in values.items():
            field = self._fields.get(kind)
            if field is None or not field.allows(value):
                raise ValueError(f"item {kind:02x} of {len(value)} bytes")
        return encode_items(sorted(values.items()))

    def read(self, data: bytes) -> Items:
        """Take a structure apart.

        Args:
            data: the structure, and nothing after it.

        Returns:
            Its items.

        Raises:
            RemoteError: ``bad-items`` for anything that is not written in the one way.
        """
        values: dict[int, bytes] = {}
        signed: list[bytes] = []
        position = previous = start = 0
        length = len(data)
        while position < length:
            kind = data[position]
            if kind == PADDING and self._padded:
                break
            value = position + HEADER
            end = value + int.from_bytes(data[position + 1 : value], "big")
            if end > length:
                raise _bad(f"item {kind:02x} is cut off")
            if kind <= previous:
                raise _bad(f"item {kind:02x} after {previous:02x}")
            previous = kind
            if kind < IGNORED:
                values[kind] = self._check(kind, data[value:end])
            if kind == self._signature:
                signed.append(data[start:position])
                start = end
            position = end
        if not self._required <= values.keys():
            raise _bad(f"item {min(self._required - values.keys()):02x} is missing")
        if self._padded:
            _check_padding(data, position)
        signed.append(data[start:position])
        return Items(values, b"".join(signed), position)

    def _check(self, kind: int, value: bytes) -> bytes:
        field = self._fields.get(kind)
        if field is None:
            raise _bad(f"unknown item {kind:02x}")
        if not field.allows(value):
            raise _bad(f"item {kind:02x} of {len(value)} bytes, or too high a number")
        return value


def _check_padding(data: bytes, position: int) -> None:
    size = len(data) - position - HEADER
    if int.from_bytes(data[position + 1 : position + HEADER], "big") != size:
        raise _bad("padding does not end where it says")
    if data.count(0, position + HEADER) != size:
        raise _bad("padding is not zeros")


def _bad(detail: str) -> RemoteError:
    return RemoteError("bad-items", detail)
