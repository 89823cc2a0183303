"""What a thief of the disk finds, and what a bad sector does."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from twisted.logger import globalLogPublisher

from securerelay.errors import StorageError
from securerelay.store.lane import InlineLane
from securerelay.store.sqlite import SqliteStore
from tests.store.samples import NOW, STREAM, enrol, message, on_disk, result, ticket

EPOCH = 1 << 32


def test_no_psk_lies_on_the_disk(tmp_path: Path):
    store = on_disk(tmp_path)
    result(store.open())
    enrol(store, "alice")
    result(store.ticket_put([ticket("alice")]))
    for _ in range(2):
        for path in tmp_path.iterdir():
            assert ticket("alice").psk not in path.read_bytes()
        result(store.close())


def with_ticket(folder: Path) -> None:
    store = on_disk(folder)
    result(store.open())
    enrol(store, "alice")
    result(store.ticket_put([ticket("alice", 1), ticket("alice", 2)]))
    result(store.close())


def test_a_ticket_does_not_open_under_another_key(tmp_path: Path):
    with_ticket(tmp_path)
    store = SqliteStore(tmp_path, bytes(32), lambda f, *args: f(*args), lane=InlineLane)
    result(store.open())
    with pytest.raises(StorageError, match="does not open under this folder's key"):
        result(store.ticket_take(ticket("", 1).id_sha256, NOW, lambda _: None))
    result(store.close())


def test_a_ticket_with_a_damaged_nonce_does_not_open(tmp_path: Path):
    with_ticket(tmp_path)
    with closing(sqlite3.connect(tmp_path / "relay.sqlite")) as db:
        db.execute("UPDATE ticket SET nonce = x'00'")
        db.commit()
    store = on_disk(tmp_path)
    result(store.open())
    with pytest.raises(StorageError, match="does not open"):
        result(store.ticket_take(ticket("", 1).id_sha256, NOW, lambda _: None))
    result(store.close())


def test_a_psk_moved_to_another_ticket_does_not_open(tmp_path: Path):
    with_ticket(tmp_path)
    with closing(sqlite3.connect(tmp_path / "relay.sqlite")) as db:
        one, two = ticket("", 1).id_sha256, ticket("", 2).id_sha256
        query = "UPDATE ticket SET (nonce, psk) = (SELECT nonce, psk FROM ticket WHERE id = ?)"
        db.execute(query + " WHERE id = ?", (one, two))
        db.commit()
    store = on_disk(tmp_path)
    result(store.open())
    with pytest.raises(StorageError, match="does not open"):
        result(store.ticket_take(two, NOW, lambda _: None))
    assert result(store.ticket_take(one, NOW, lambda _: None)) is not None
    result(store.close())


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE message SET body = x'00' WHERE seq = 2",
        "UPDATE message SET body = 'text' WHERE seq = 2",
        "UPDATE message SET addressed = 'carol' WHERE seq = 2",
        "UPDATE message SET seq = 9 WHERE seq = 2",
        "UPDATE mail SET sender = 'carol' WHERE n & 7 = 2",
        "DELETE FROM message WHERE seq = 2",
    ],
)
def test_a_damaged_message_is_left_out_and_told_of(tmp_path: Path, damage: str):
    store = on_disk(tmp_path)
    result(store.open())
    result(store.stream_open("alice", STREAM, 0, NOW))
    result(store.append([message(seq, ("bob", EPOCH + seq)) for seq in (1, 2, 3)]))
    result(store.close())
    with closing(sqlite3.connect(tmp_path / "relay.sqlite")) as db:
        db.execute(damage)
        db.commit()
    result(store.open())
    events = []
    globalLogPublisher.addObserver(events.append)
    try:
        page = result(store.fetch("bob", 0, 10, 1000))
    finally:
        globalLogPublisher.removeObserver(events.append)
    assert [row.seq for row in page] == [1, 3]
    (event,) = (event for event in events if event["log_level"].name == "critical")
    assert (event["n"], event["peer"]) == (EPOCH + 2, "bob")
    result(store.ack("bob", EPOCH + 3, NOW))
    assert result(store.mailbox_state("bob")).total.count == 0
    result(store.close())
