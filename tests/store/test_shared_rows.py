"""Rows that hold messages which came together: damaged, searched for, of a new version."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import globalLogPublisher

from securerelay.store import copies, engine, schema, sql_mailboxes
from securerelay.store.interface import StorageFull
from securerelay.store.ledger import Ledger
from securerelay.store.rows import Accepted, Usage
from securerelay.store.sql_streams import open_stream
from securerelay.store.sqlite import SqliteStore
from tests.store.samples import LATER, NOW, STREAM, message, on_disk, result

EPOCH = 1 << 32
ALONE = [1, 6]
SHARED = [2, 3, 4, 5]
DUMP = Path(__file__).parent / "schemas" / "version3.sql"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    """Bob has a message, four that came together, and another."""
    made = on_disk(tmp_path)
    result(made.open())
    result(made.stream_open("alice", STREAM, 0, NOW))
    batch = [
        message(1, ("bob", EPOCH + 1), body=b"before", receipt=True),
        message(2, ("bob", EPOCH + 5), bodies=(b"a", b"bc", b"def", b"g"), receipt=True),
        message(6, ("bob", EPOCH + 6), body=b"behind", receipt=True),
    ]
    assert set(result(made.append(batch))) == {Accepted()}
    yield made
    result(made.close())


def query(folder: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(folder / "relay.sqlite")) as db:
        rows = db.execute(statement).fetchall()
        db.commit()
        return rows


def damage(store: SqliteStore, folder: Path, statement: str) -> None:
    result(store.close())
    query(folder, statement)
    result(store.open())


def rows_left(folder: Path) -> list[Any]:
    return query(folder, "SELECT n - (1 << 32), count, size FROM mail ORDER BY n")


def read(store: SqliteStore, after: int = 0, most: int = 100) -> tuple[list[int], list[int]]:
    """Read bob's mailbox; returns what comes out, and what is said to be damaged."""
    events: list[Any] = []
    globalLogPublisher.addObserver(events.append)
    try:
        page = result(store.fetch("bob", EPOCH + after, most, 1000))
    finally:
        globalLogPublisher.removeObserver(events.append)
    critical = [event for event in events if event["log_level"].name == "critical"]
    assert {event["peer"] for event in critical} <= {"bob"}
    return [row.n - EPOCH for row in page], [event["n"] - EPOCH for event in critical]


BODY = "UPDATE message SET body = "
SIZES = "UPDATE message SET sizes = "
COUNT = "UPDATE mail SET count = "
FAULTS = [
    f"{BODY} x'61626364656677' WHERE seq = 5",
    f"{BODY} x'616263646566' WHERE seq = 5",
    f"{BODY} x'61626364656767' || 'x' WHERE seq = 5",
    f"{BODY} '' WHERE seq = 5",
    f"{SIZES} x'00000001000000020000000300000005' WHERE seq = 5",
    f"{SIZES} x'00000002000000010000000300000001' WHERE seq = 5",
    f"{SIZES} x'000000010000000200000004' WHERE seq = 5",
    f"{SIZES} x'00000001000000020000000300' WHERE seq = 5",
    f"{SIZES} x'80000001000000020000000300000001' WHERE seq = 5",
    f"{SIZES} NULL WHERE seq = 5",
    f"{SIZES} 'text' WHERE seq = 5",
    f"{COUNT} 5 WHERE count = 4",
    f"{COUNT} 6 WHERE count = 4",
    f"{COUNT} 3 WHERE count = 4",
    f"{COUNT} 1 WHERE count = 4",
    f"{COUNT} 0 WHERE count = 4",
    f"{COUNT} -4 WHERE count = 4",
    f"{COUNT} 4 | (1 << 40) WHERE count = 4",
    f"{COUNT} 4 | (1 << 63) WHERE count = 4",
    "UPDATE mail SET size = size | 8 WHERE count = 4",
    "UPDATE message SET seq = 7 WHERE seq = 5",
    "UPDATE message SET checksum = checksum + 1 WHERE seq = 5",
    "UPDATE message SET stream = 'B' WHERE seq = 5",
    "UPDATE mail SET sender = 'carol' WHERE count = 4",
    "DELETE FROM message WHERE seq = 5",
]


@pytest.mark.parametrize("fault", FAULTS)
def test_of_a_damaged_row_no_message_is_delivered_and_each_is_named(
    store: SqliteStore, tmp_path: Path, fault: str
):
    damage(store, tmp_path, fault)
    assert read(store) == (ALONE, SHARED)
    assert read(store, after=3) == ([6], [4, 5])
    result(store.close())
    told = copies.examine(tmp_path)
    for n in SHARED:
        assert f"message {EPOCH + n} in the mailbox of bob is damaged" in told
    for n in ALONE:
        assert f"message {EPOCH + n} in the mailbox of bob is damaged" not in told


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_row_is_acknowledged_like_others(store: SqliteStore, tmp_path: Path, fault: str):
    damage(store, tmp_path, fault)
    before = result(store.mailbox_state("bob")).senders
    freed = [result(store.ack("bob", EPOCH + n, NOW)).freed for n in (3, 6)]
    for sender, usage in before.items():
        parts = [one.get(sender, Usage()) for one in freed]
        assert sum(part.count for part in parts) == usage.count
        assert sum(part.size for part in parts) == usage.size
    assert rows_left(tmp_path) == []
    assert query(tmp_path, "SELECT * FROM message") == []


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("first", [1, 3])
def test_a_damaged_row_expires_like_others(
    store: SqliteStore, tmp_path: Path, fault: str, first: int
):
    damage(store, tmp_path, fault)
    total = result(store.mail_total())
    expired = result(store.expire(LATER, limit=first)) + result(store.expire(LATER, limit=100_000))
    assert sum(row.size for row in expired) == total.size
    assert len(expired) == total.count
    assert rows_left(tmp_path) == []
    assert query(tmp_path, "SELECT * FROM message") == []


def test_a_page_may_lie_behind_a_damaged_row(store: SqliteStore, tmp_path: Path):
    damage(store, tmp_path, FAULTS[0])
    assert read(store, after=1, most=1) == ([6], SHARED)
    assert read(store, after=5, most=1) == ([6], [])


def test_a_damaged_message_alone_is_named_alone(store: SqliteStore, tmp_path: Path):
    damage(store, tmp_path, f"{COUNT} 3 WHERE n & 7 = 6")
    assert read(store) == ([1, *SHARED], [6])


def test_a_message_alone_does_not_need_its_size(store: SqliteStore, tmp_path: Path):
    damage(store, tmp_path, "UPDATE mail SET size = 9 WHERE n & 7 = 6")
    assert read(store) == ([1, *SHARED, 6], [])


def test_no_row_outlives_its_messages(store: SqliteStore, tmp_path: Path):
    messages = "SELECT seq FROM message ORDER BY seq"
    left = [(5, 4, 7), (5, 3, 6), (5, 2, 4), (5, 1, 1)]
    for n, row in enumerate(left, 1):
        result(store.ack("bob", EPOCH + n, NOW))
        assert rows_left(tmp_path) == [row, (6, 1, 6)]
        assert query(tmp_path, messages) == [(5,), (6,)]
    result(store.ack("bob", EPOCH + 5, NOW))
    assert rows_left(tmp_path) == [(6, 1, 6)]
    assert query(tmp_path, messages) == [(6,)]


@pytest.mark.parametrize("expires", [False, True])
def test_a_row_for_many_goes_with_the_last_of_them(
    store: SqliteStore, tmp_path: Path, expires: bool
):
    everyone = (("dave", EPOCH + 2), ("erin", EPOCH + 2))
    result(store.append([message(7, *everyone, bodies=(b"7", b"8"), expiry=NOW)]))
    messages = "SELECT 1 FROM message WHERE seq = 8"

    def take(peer: str, upto: int) -> None:
        if expires:
            assert [row.receipt.peer for row in result(store.expire(NOW, limit=1))] == [peer]
        else:
            assert result(store.ack(peer, EPOCH + upto, NOW)).freed["alice"].count == 1

    for peer, upto in (("dave", 1), ("dave", 2), ("erin", 1)):
        take(peer, upto)
        assert query(tmp_path, messages) == [(1,)]
    take("erin", 2)
    assert query(tmp_path, messages) == []


def test_only_what_came_together_has_sizes_and_only_what_is_for_many_is_shared(
    store: SqliteStore, tmp_path: Path
):
    result(store.append([message(7, ("dave", EPOCH + 1), ("erin", EPOCH + 1))]))
    sizes = "SELECT seq, sizes IS NULL FROM message ORDER BY seq"
    assert query(tmp_path, sizes) == [(1, 1), (5, 0), (6, 1), (7, 1)]
    shared = "SELECT peer, shared FROM mail ORDER BY peer, n"
    assert query(tmp_path, shared) == [("bob", 0)] * 3 + [("dave", 1), ("erin", 1)]


def test_what_nobody_needs_makes_no_row(store: SqliteStore, tmp_path: Path):
    assert result(store.append([message(7, bodies=(b"7", b"8"))])) == [Accepted()]
    assert query(tmp_path, "SELECT seq FROM message ORDER BY seq") == [(1,), (5,), (6,)]


def test_all_that_came_together_waits_for_the_disk(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(engine, "_MOST_WAITING", 10)
    sent = message(7, ("bob", EPOCH + 9), bodies=(b"123456", b"7890"))
    with pytest.raises(StorageFull, match="too much is waiting"):
        result(store.append([sent._replace(bodies=(*sent.bodies, b"1"))]))
    assert result(store.append([sent])) == [Accepted()]


def test_a_database_from_before_takes_messages_that_come_together(tmp_path: Path):
    with closing(sqlite3.connect(tmp_path / "relay.sqlite")) as db:
        db.executescript(DUMP.read_text(encoding="utf-8"))
        db.execute("PRAGMA journal_mode = WAL")
    store = on_disk(tmp_path)
    first = (result(store.open()).epoch << 32) + 1
    assert result(store.mailbox_state("bob")).total == Usage(2, 6)
    sent = message(4, ("bob", first + 2), bodies=(b"three", b"four", b"five"), receipt=True)
    assert result(store.append([sent])) == [Accepted()]
    old = [EPOCH + 1, EPOCH + 2]
    page = result(store.fetch("bob", 0, 10, 1000))
    assert [row.n for row in page] == [*old, first, first + 1, first + 2]
    assert [row.body for row in page] == [b"one", b"two", b"three", b"four", b"five"]
    acked = result(store.ack("bob", first, NOW))
    assert [row.seq for row in acked.receipts] == [2, 4]
    assert acked.freed == {"alice": Usage(3, 11)}
    assert [row.seq for row in result(store.fetch("bob", 0, 10, 1000))] == [5, 6]
    result(store.close())
    assert copies.examine(tmp_path) == []


class Watched(sqlite3.Connection):
    """Looks at how each statement would be run, before it is."""

    plans: list[str]

    def watch(self, statement: str, values: Any) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE")):
            self.plans += [
                row[3] for row in super().execute(f"EXPLAIN QUERY PLAN {statement}", values)
            ]

    def execute(self, statement: str, values: Any = ()) -> sqlite3.Cursor:
        self.watch(statement, values)
        return super().execute(statement, values)

    def executemany(self, statement: str, rows: Any) -> sqlite3.Cursor:
        rows = list(rows)
        for values in rows[:1]:
            self.watch(statement, values)
        return super().executemany(statement, rows)


def test_only_rows_that_matter_are_looked_at():
    with closing(sqlite3.connect(":memory:", factory=Watched, isolation_level=None)) as db:
        db.plans = []
        schema.migrate(db)
        ledger = Ledger()
        open_stream(db, ledger, "alice", STREAM, 0, NOW)
        everyone = (("bob", 4), ("dave", 4))
        sent = message(1, *everyone, bodies=(b"1", b"2", b"3", b"4"), receipt=True)
        assert sql_mailboxes.append(db, ledger, [sent]) == [Accepted()]
        for do in (
            lambda: sql_mailboxes.fetch(db, "bob", 1, 10, 10)[0],
            lambda: sql_mailboxes.ack(db, "bob", 2, NOW).freed,
            lambda: sql_mailboxes.ack(db, "bob", 4, NOW).freed,
            lambda: sql_mailboxes.expire(db, LATER, 1),
            lambda: sql_mailboxes.expire(db, LATER, 10),
        ):
            db.plans.clear()
            assert do()
            assert db.plans
            assert [plan for plan in db.plans if "SCAN" in plan or "TEMP" in plan] == []
