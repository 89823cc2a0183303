"""A sealed body is known by its header."""

from __future__ import annotations

import pytest

from securerelay.errors import RemoteError
from securerelay.protocol.sealed import DirectHeader, RoomHeader, is_sealed, read_header

DIRECT = DirectHeader(b"s" * 8, b"p" * 8)
ROOM = RoomHeader(b"s" * 8, b"k" * 16, 258, b"t" * 32)
DIRECT_BODY = DIRECT.encode() + bytes(1136 + 256)
ROOM_BODY = ROOM.encode() + bytes(16 + 256)


def test_headers_have_their_bytes_in_order() -> None:
    assert DIRECT.encode() == b"SRE1\x01" + b"s" * 8 + b"p" * 8
    assert ROOM.encode() == b"SRE1\x02" + b"s" * 8 + b"k" * 16 + b"\0" * 6 + b"\1\2" + b"t" * 32


def test_headers_are_read_as_they_were_written() -> None:
    assert read_header(DIRECT_BODY) == DIRECT
    assert read_header(ROOM_BODY) == ROOM


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"SRE1",
        DIRECT_BODY[:-1],
        ROOM_BODY[:-1],
        b"SRE2" + DIRECT_BODY[4:],
        b"SRE1\x00" + DIRECT_BODY[5:],
        b"SRE1\x03" + DIRECT_BODY[5:],
    ],
)
def test_everything_else_is_not_sealed(body: bytes) -> None:
    assert not is_sealed(body)
    with pytest.raises(RemoteError, match="unsealed"):
        read_header(body)


def test_bodies_of_both_suites_are_sealed() -> None:
    assert is_sealed(DIRECT_BODY)
    assert is_sealed(ROOM_BODY)
