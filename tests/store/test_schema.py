"""Databases of every earlier version are brought forward with all that is in them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from securerelay.store import schema
from securerelay.store.interface import Store
from securerelay.store.rows import RoomListRow
from tests.store.samples import NOW, STREAM, certificate, on_disk, result

DUMPS = sorted((Path(__file__).parent / "schemas").glob("*.sql"))


def shape(db: sqlite3.Connection) -> list[tuple[str, ...]]:
    query = "SELECT type, name, tbl_name FROM sqlite_master ORDER BY name"
    tables = [row for row in db.execute(query).fetchall() if "sqlite_" not in row[1]]
    columns = [
        (name, *map(str, column))
        for kind, name, _ in tables
        if kind == "table"
        for column in db.execute(f"PRAGMA table_info({name})")
    ]
    return tables + columns


def test_there_is_a_sample_of_every_version():
    assert [path.stem for path in DUMPS] == [
        f"version{number}" for number in range(1, len(schema.MIGRATIONS) + 1)
    ]


@pytest.mark.parametrize("dump", DUMPS, ids=lambda path: path.stem)
def test_a_database_of_each_version_opens_and_keeps_its_content(dump: Path, tmp_path: Path):
    with closing(sqlite3.connect(tmp_path / "relay.sqlite")) as db:
        db.executescript(dump.read_text(encoding="utf-8"))
        db.execute("PRAGMA journal_mode = WAL")
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        schema.migrate(fresh)
        newest = shape(fresh)
    store = on_disk(tmp_path)
    assert result(store.open()).epoch == 8
    assert [peer.name for peer in result(store.peers())] == ["alice", "bob"]
    assert result(store.lookup("bob")).state == "revoked"
    assert result(store.key_log_size()) == 3
    assert [row.state for row in result(store.invitations())] == ["used", "used", "open"]
    assert [row.body for row in result(store.fetch("bob", 0, 10, 1000))] == [b"one", b"two"]
    stream = result(store.stream_open("alice", STREAM, 0, NOW))
    assert (stream.last, stream.refusals) == (3, ((3, "offline"),))
    assert result(store.room("@team")).members == ("alice",)
    written_by = int(dump.stem.removeprefix("version"))
    check_sealing(store, listed=1 if written_by >= 2 else 0)
    disputed = [row.disputed for row in result(store.invitations())]
    assert disputed == [1_800_000_000_001 if written_by >= 3 else None, None, None]
    result(store.close())
    with closing(sqlite3.connect(tmp_path / "relay.sqlite")) as db:
        assert schema.version(db) == len(schema.MIGRATIONS)
        assert shape(db) == newest


def check_sealing(store: Store, listed: int) -> None:
    """Lists and bundles are there if they were, and new ones find their place."""
    assert result(store.room("@team")).listed == listed
    found = result(store.room_list("@team"))
    assert (found.raw if found else None) == (b"list 1" if listed else None)
    before = result(store.published(["alice"]))["alice"]
    assert (before.number, before.bundle) == ((5, b"bundle") if listed else (0, b""))
    result(store.publish("alice", 6, b"next", certificate("alice").sha256))
    after = result(store.published(["alice"]))["alice"]
    assert after.leaf == result(store.key_log(0, 1))[0]
    row = RoomListRow("@team", listed + 1, b"next")
    assert result(store.room_publish(row, ("alice",), NOW, 9)).listed == listed + 1


def test_only_what_is_missing_is_migrated():
    extra = (*schema.MIGRATIONS, ("CREATE TABLE more (x)", "INSERT INTO more VALUES (1)"))
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        schema.migrate(db)
        schema.migrate(db, extra)
        schema.migrate(db, extra)
        assert db.execute("SELECT x FROM more").fetchall() == [(1,)]
        assert schema.version(db) == len(extra)


def test_a_migration_that_fails_leaves_the_version_before():
    bad = (*schema.MIGRATIONS, ("CREATE TABLE more (x)", "no SQL"))
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        schema.migrate(db)
        with pytest.raises(sqlite3.OperationalError):
            schema.migrate(db, bad)
        assert schema.version(db) == len(schema.MIGRATIONS)
        assert db.execute("SELECT 1 FROM sqlite_master WHERE name = 'more'").fetchone() is None
        assert not db.in_transaction
