"""What a relay answers to a session that it ends."""

from __future__ import annotations

import contextlib

from tests.hostile import independent as sr1
from tests.hostile.siege import everything

PING = sr1.encode("PING", "x")
SILENCE: list[tuple[int, bytes]] = []
PROTOCOL = [(sr1.ALERT, b"protocol")]
BYE = [(sr1.CLOSE, b"bye")]


def heard(client: sr1.Client, *segments: bytes) -> list[tuple[int, bytes]]:
    """Send this; return every record that comes until the relay ends the connection."""
    with contextlib.suppress(ConnectionError):
        for segment in segments:
            client.wire.sendall(segment)
    said = everything(client.wire)  # type: ignore[arg-type]
    client.wire.close()
    records = []
    while said:
        length = 2 + int.from_bytes(said[:2], "big")
        records.append(client.session.into.open(said[2:length]))
        said = said[length:]
    return records
