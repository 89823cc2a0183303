"""Seeded mutations of bytes, of numbers in text, and of items."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

NUMBERS = (
    *(b"0", b"1", b"-1", b"01", b"+1", b"1_0", b" 1", b"65536", b"4294967296"),
    *(b"9223372036854775807", b"9223372036854775808", b"18446744073709551616", b"1e9"),
)
TOKENS = (
    *(b" ", b"\n", b"\r\n", b"\0", b"=", b",", b":", b"@", b"/", b"-", b".", b"#", b"\\", b'"'),
    *(b"\x1b[2J", b"\xff", b"\xc3\xa9", b"\xe2\x80\xae", b"\xed\xa0\x80", b"A" * 64),
    *(b"{", b"}", b"[", b"]", b"null", b"true", b"NaN", b"1e400", b"\\ud800"),
)
_NUMBER = re.compile(rb"[0-9]+")


def _bytes_once(chance: random.Random, data: bytearray, others: Sequence[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    size = min(len(data) - at, chance.choice((1, 1, 2, 4, 8, 64)))
    way = chance.randrange(10)
    if way == 0 and at < len(data):
        data[at] ^= 1 << chance.randrange(8)
    elif way == 1 and at < len(data):
        data[at] = chance.choice((0, 1, 0x20, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    elif way == 2:
        del data[at : at + size]
    elif way == 3:
        data[at:at] = data[at : at + size] * chance.choice((1, 1, 2, 50))
    elif way == 4:
        data[at:at] = chance.choice(TOKENS)
    elif way == 5:
        data[at : at + size] = chance.randbytes(size)
    elif way == 6:
        numbers = list(_NUMBER.finditer(data))
        if numbers:
            found = chance.choice(numbers)
            data[found.start() : found.end()] = chance.choice(NUMBERS)
    elif way == 7:
        other = chance.choice(others)
        start = chance.randrange(len(other) + 1)
        data[at:] = other[start:]
    elif way == 8:
        del data[at:]
    else:
        words = bytes(data).split(b" ")
        one, two = chance.randrange(len(words)), chance.randrange(len(words))
        words[one], words[two] = words[two], words[one]
        data[:] = b" ".join(words)


def of_bytes(chance: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Change bytes a few times."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        _bytes_once(chance, changed, others)
    return bytes(changed)


def items_of(data: bytes) -> list[tuple[int, bytes]]:
    """Take items apart, as far as they are some."""
    found, at = [], 0
    while at + 5 <= len(data) and data[at]:
        size = int.from_bytes(data[at + 1 : at + 5], "big")
        found.append((data[at], data[at + 5 : at + 5 + size]))
        at += 5 + size
    return found


def of_items(chance: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Change one item's type, value or place, or now and then any byte."""
    items = items_of(data)
    if not items or not chance.randrange(4):
        return of_bytes(chance, data, others)
    at = chance.randrange(len(items))
    kind, value = items[at]
    way = chance.randrange(7)
    if way == 0:
        del items[at]
    elif way == 1:
        items.insert(at, items[at])
    elif way == 2:
        other = chance.randrange(len(items))
        items[at], items[other] = items[other], items[at]
    elif way == 3:
        items[at] = (chance.randrange(256), value)
    elif way == 4:
        items[at] = (kind, of_bytes(chance, value, [value]))
    elif way == 5:
        wrong = bytearray(value or b"\0")
        wrong[chance.randrange(len(wrong))] ^= 1 << chance.randrange(8)
        items[at] = (kind, bytes(wrong))
    else:
        items[at] = (kind, chance.choice((b"", bytes(len(value)), b"\xff" * len(value), value * 2)))
    return b"".join(bytes([kind]) + len(v).to_bytes(4, "big") + v for kind, v in items)
