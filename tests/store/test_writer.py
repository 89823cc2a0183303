"""The writer: one sync for all who wait, and who fails, fails alone."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from securerelay.errors import Refused, StorageError
from securerelay.store import engine, sql_mailboxes
from securerelay.store.folder import Ballast
from securerelay.store.interface import StorageFull, StorageStopped
from securerelay.store.rows import Accepted, Duplicate, Rejected
from securerelay.store.sqlite import SqliteStore
from tests.store.samples import (
    LATER,
    NOW,
    STREAM,
    Lanes,
    certificate,
    invitation,
    message,
    on_disk,
    pending,
    result,
)

EPOCH = 1 << 32


class Fixture:
    """A store whose lanes can be held, and what happened to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lanes = Lanes()
        self.attempts = self.commits = 0
        self.stops: list[StorageStopped] = []
        self.die_at = ""
        self.store: SqliteStore = on_disk(
            folder, lane=self.lanes, failpoint=self.pass_by, on_stop=self.stops.append
        )
        result(self.store.open())
        result(self.store.stream_open("alice", STREAM, 0, NOW))
        self.attempts = self.commits = 0

    def pass_by(self, place: str) -> None:
        self.attempts += place == "before-commit"
        self.commits += place == "after-commit"
        if place == self.die_at:
            raise sqlite3.OperationalError("disk I/O error")

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What is asked inside comes to the writer as one group."""
        lane = self.lanes.made["write"]
        lane.held = True
        yield
        lane.release()

    @property
    def db(self) -> sqlite3.Connection:
        opened = self.store._engine._opened
        assert opened is not None
        return opened.db

    def send(self, seq: int, size: int = 10) -> Any:
        return self.store.append([message(seq, ("bob", EPOCH + seq), body=bytes(size))])

    def count(self) -> int:
        return result(self.store.mailbox_state("bob")).total.count


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Fixture]:
    made = Fixture(tmp_path)
    yield made
    made.die_at = ""
    result(made.store.close())


def test_everything_that_waits_is_committed_together_and_answered_after(disk: Fixture):
    with disk.together():
        answers = [disk.send(seq) for seq in range(1, 50)]
        answers.append(disk.store.invite(invitation("carol")))
        assert all(pending(answer) for answer in answers)
    assert disk.commits == 1
    assert [result(answer) for answer in answers] == [[Accepted()]] * 49 + [None]


def test_each_append_gets_its_own_verdicts_when_many_are_joined(disk: Fixture):
    with disk.together():
        first = disk.store.append([message(1, ("bob", EPOCH + 1)), message(3)])
        empty = disk.store.append([])
        second = disk.store.append([message(1), message(2), message(4)])
    assert result(first) == [Accepted(), Rejected("gap")]
    assert result(empty) == []
    assert result(second) == [Duplicate(None), Accepted(), Rejected("gap")]


def test_what_was_asked_first_happens_first(disk: Fixture):
    with disk.together():
        disk.send(1)
        acked = disk.store.ack("bob", EPOCH + 9, NOW)
        disk.send(2)
    assert result(acked).freed["alice"].count == 1
    assert [row.seq for row in result(disk.store.fetch("bob", 0, 9, 999))] == [2]


def test_a_refusal_among_others_fails_alone(disk: Fixture):
    with disk.together():
        sent = disk.send(1)
        refused = disk.store.consume(b"tokens", certificate("carol"), NOW)
        invited = disk.store.invite(invitation("carol"))
    with pytest.raises(Refused, match="unknown"):
        result(refused)
    assert (result(sent), result(invited), disk.commits) == ([Accepted()], None, 1)


def test_what_raises_after_it_has_written_is_undone_and_the_others_are_kept(disk: Fixture):
    def half(db: sqlite3.Connection) -> None:
        db.execute("UPDATE stream SET last = 77")
        raise ValueError("changed my mind")

    with disk.together():
        sent = disk.send(1)
        broken = disk.store._engine.write(half)
        other = disk.send(2)
    with pytest.raises(ValueError, match="changed my mind"):
        result(broken)
    assert (result(sent), result(other), disk.count()) == ([Accepted()], [Accepted()], 2)


def test_a_statement_that_fails_takes_no_other_change_with_it(disk: Fixture):
    def wrong(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO member VALUES ('@nowhere', 'bob')")

    with disk.together():
        sent = disk.send(1)
        broken = disk.store._engine.write(wrong)
    with pytest.raises(StorageError, match="FOREIGN KEY"):
        result(broken)
    assert (result(sent), disk.stops) == ([Accepted()], [])
    assert result(disk.send(2)) == [Accepted()]


def test_a_transaction_that_was_undone_took_no_number_seq_or_id(disk: Fixture):
    def wrong(db: sqlite3.Connection) -> None:
        db.execute("no SQL")

    batch = [message(1, ("bob", EPOCH + 1))]
    with disk.together():
        answers = [disk.store.append(batch), disk.store._engine.write(wrong)]
    assert result(answers[0]) == [Accepted()]
    with pytest.raises(StorageError):
        result(answers[1])
    assert disk.count() == 1


def grow_no_more(disk: Fixture, pages: int = 0) -> None:
    (now,) = disk.db.execute("PRAGMA page_count").fetchone()
    disk.db.execute(f"PRAGMA max_page_count = {now + pages}")


def fill(disk: Fixture) -> int:
    """Send until there is no room; returns the first seq that was not taken."""
    grow_no_more(disk, 30)
    for seq in range(1, 100):
        try:
            result(disk.send(seq, 10_000))
        except StorageFull:
            return seq
    raise AssertionError("never full")


def test_a_full_disk_refuses_messages_and_takes_them_when_there_is_room_again(disk: Fixture):
    seq = fill(disk)
    with pytest.raises(StorageFull, match="no room left"):
        result(disk.send(seq, 10_000))
    assert disk.count() == seq - 1
    grow_no_more(disk, 1000)
    assert result(disk.send(seq, 10_000)) == [Accepted()]
    assert disk.stops == []


def test_a_full_disk_still_takes_acknowledgements_and_deletes(disk: Fixture):
    seq = fill(disk)
    with disk.together():
        sent = disk.send(seq, 10_000)
        acked = disk.store.ack("bob", EPOCH + 5, NOW)
        looked = disk.store.fetch("bob", EPOCH, 100, 1)
    assert result(acked).freed["alice"].count == 5
    with pytest.raises(StorageFull):
        result(sent)
    assert len(result(looked)) == 1
    assert len(result(disk.store.expire(LATER))) == seq - 6


def test_room_made_by_acknowledgements_is_used_again(disk: Fixture):
    seq = fill(disk)
    result(disk.store.ack("bob", EPOCH + 5, NOW))
    assert result(disk.send(seq, 10_000)) == [Accepted()]


def test_a_later_message_does_not_slip_past_one_that_found_no_room(disk: Fixture):
    seq = fill(disk)
    with disk.together():
        large = disk.send(seq, 10_000)
        small = disk.send(seq + 1, 1)
    with pytest.raises(StorageFull):
        result(large)
    assert result(small) == [Rejected("gap")]


def full_once(monkeypatch: pytest.MonkeyPatch, while_exists: Path) -> None:
    """Deletes find no room as long as a file is there."""
    ack = sql_mailboxes.ack

    def tight(db: sqlite3.Connection, *args: Any) -> Any:
        if while_exists.exists():
            raise sqlite3.OperationalError("database or disk is full")
        return ack(db, *args)

    monkeypatch.setattr(sql_mailboxes, "ack", tight)


def test_the_ballast_goes_when_not_even_a_delete_finds_room(
    disk: Fixture, monkeypatch: pytest.MonkeyPatch
):
    ballast = disk.folder / "ballast"
    assert ballast.stat().st_blocks * 512 >= 16 << 20
    result(disk.send(1))
    full_once(monkeypatch, ballast)
    monkeypatch.setattr(Ballast, "reserve", lambda self: False)
    assert result(disk.store.ack("bob", EPOCH + 1, NOW)).freed["alice"].count == 1
    assert not ballast.exists()
    with pytest.raises(StorageFull):
        result(disk.send(2))
    assert result(disk.store.ack("bob", EPOCH + 1, NOW)).freed == {}
    monkeypatch.undo()
    assert result(disk.send(2)) == [Accepted()]
    assert ballast.exists()


def test_without_ballast_messages_still_find_room_inside_the_file(
    disk: Fixture, monkeypatch: pytest.MonkeyPatch
):
    for seq in range(1, 11):
        result(disk.send(seq, 1 << 20))
    full_once(monkeypatch, disk.folder / "ballast")
    monkeypatch.setattr(Ballast, "reserve", lambda self: False)
    result(disk.store.ack("bob", EPOCH + 2, NOW))
    with pytest.raises(StorageFull):
        result(disk.send(11, 1 << 20))
    result(disk.store.ack("bob", EPOCH + 10, NOW))
    assert result(disk.send(11, 1 << 20)) == [Accepted()]


def test_an_error_of_the_disk_stops_the_store_for_good(disk: Fixture):
    disk.die_at = "before-commit"
    with pytest.raises(StorageStopped, match=r"disk under .* fails"):
        result(disk.send(1))
    disk.die_at = ""
    for ask in (lambda: disk.send(1), lambda: disk.store.ack("bob", EPOCH, NOW)):
        with pytest.raises(StorageStopped, match=r"disk under .* fails"):
            result(ask())
    assert len(disk.stops) == 1
    assert disk.count() == 0


def test_everyone_in_a_group_hears_of_the_error_of_the_disk_and_nothing_is_tried_again(
    disk: Fixture,
):
    disk.die_at = "before-commit"
    with disk.together():
        answers = [disk.send(1), disk.store.ack("bob", EPOCH, NOW), disk.send(2)]
    for answer in answers:
        with pytest.raises(StorageStopped):
            result(answer)
    assert (disk.attempts, len(disk.stops)) == (1, 1)


def test_after_an_unknown_outcome_the_same_batch_is_a_duplicate(disk: Fixture):
    disk.die_at = "after-commit"
    with pytest.raises(StorageStopped):
        result(disk.send(1))
    disk.die_at = ""
    result(disk.store.close())
    again = on_disk(disk.folder)
    result(again.open())
    assert result(again.append([message(1, ("bob", 2 * EPOCH + 1))])) == [Duplicate(None)]
    result(again.close())


def test_too_much_waiting_is_refused_before_it_fills_the_memory(
    disk: Fixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(engine, "_MOST_WAITING", 1000)
    with disk.together():
        waiting = [disk.send(1, 600), disk.send(2, 600), disk.store.ack("bob", EPOCH, NOW)]
        with pytest.raises(StorageFull, match="too much is waiting"):
            result(waiting[1])
    assert result(waiting[0]) == [Accepted()]
    assert result(disk.send(2, 600)) == [Accepted()]


def test_what_was_asked_before_the_end_is_done_before_it(disk: Fixture):
    with disk.together():
        sent = disk.send(1)
        closed = disk.store.close()
        late = disk.send(2)
    assert result(sent) == [Accepted()]
    assert result(closed) is None
    with pytest.raises(StorageStopped, match="closed"):
        result(late)
