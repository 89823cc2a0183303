"""What a profile keeps on disk: safe from others, from damage, from newer versions and from age."""

from __future__ import annotations

import os
import pathlib
import sqlite3
import threading

import pytest

from securerelay.client import forgetting, statefile
from securerelay.client.rows import (
    ACCEPTED,
    DELIVERED,
    EXPIRED,
    REFUSED,
    Change,
    Outgoing,
    Verdict,
)
from securerelay.client.state import NAME, State
from securerelay.errors import StorageError

STREAM = "s" * 22


def messages(*seqs: int) -> list[Outgoing]:
    return [Outgoing(seq, "alice", None, False, b"%d" % seq) for seq in seqs]


def change(*seqs: int, stream: str = STREAM, time: int = 0, **more: object) -> Change:
    last = max(seqs, default=0)
    return Change(stream, "owner", time, messages(*seqs), last=last, **more)  # type: ignore[arg-type]


@pytest.fixture
def state(tmp_path: pathlib.Path) -> State:
    return State(tmp_path)


def write(state: State, *changes: Change) -> None:
    results = state.run([lambda state, one=one: state.apply(one) for one in changes])  # type: ignore[misc]
    assert results == [None] * len(changes)


# -- the file


def test_nobody_else_can_read_it_from_its_first_byte(state: State, tmp_path: pathlib.Path):
    write(state, change(1))
    for path in tmp_path.glob("state.sqlite*"):
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_file_that_is_not_ours_or_is_damaged_is_refused_and_left(
    tmp_path: pathlib.Path, content: bytes
):
    path = tmp_path / NAME
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(StorageError) as caught:
        State(tmp_path)
    assert str(path) in caught.value.message
    assert path.read_bytes() == content


def test_a_damaged_page_is_found_before_anything_is_written(tmp_path: pathlib.Path):
    state = State(tmp_path)
    write(state, change(*range(1, 500)))
    state.close()
    path = tmp_path / NAME
    content = bytearray(path.read_bytes())
    content[8192:12288] = os.urandom(4096)
    path.write_bytes(content)
    with pytest.raises(StorageError, match="damaged"):
        State(tmp_path)
    assert path.read_bytes() == content


def test_the_database_of_another_program_is_refused(tmp_path: pathlib.Path):
    with sqlite3.connect(tmp_path / NAME) as db:
        db.execute("CREATE TABLE x (y)")
    db.close()
    (tmp_path / NAME).chmod(0o600)
    with pytest.raises(StorageError, match="not a database of SecureRelay"):
        State(tmp_path)


def test_a_newer_version_is_refused(tmp_path: pathlib.Path):
    state = State(tmp_path)
    state._db.execute("PRAGMA user_version = 99")
    state.close()
    with pytest.raises(StorageError, match="newer version"):
        State(tmp_path)


def test_a_file_that_others_can_read_is_refused(tmp_path: pathlib.Path):
    State(tmp_path).close()
    (tmp_path / NAME).chmod(0o644)
    with pytest.raises(StorageError, match="chmod 600"):
        State(tmp_path)


def test_a_log_without_its_database_is_not_taken_for_a_fresh_start(tmp_path: pathlib.Path):
    (tmp_path / (NAME + "-wal")).write_bytes(b"x")
    with pytest.raises(StorageError, match="restore a backup"):
        State(tmp_path)


def test_what_keeps_a_sound_file_from_being_opened_is_not_taken_for_damage(tmp_path: pathlib.Path):
    State(tmp_path).close()
    log = tmp_path / (NAME + "-wal")
    log.mkdir()  # as on a full disk, or in a read-only folder, SQLite cannot make its log
    with pytest.raises(StorageError, match=r"cannot be used now .*disk full") as told:
        State(tmp_path)
    assert "damaged" not in str(told.value)
    log.rmdir()
    State(tmp_path).close()


def test_programs_that_start_at_once_share_one_file(tmp_path: pathlib.Path):
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            state = State(tmp_path)
            for seq in range(1, 20):
                write(state, change(seq, stream=f"{number:022}"))
            state.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(State(tmp_path).sent(1000)) == 6 * 19


def test_a_transaction_that_fails_changes_nothing_and_tells_all_who_wait(state: State):
    twice = [lambda state: state.apply(change(1)), lambda state: state.apply(change(1))]
    results = state.run(twice)
    assert [type(result) for result in results] == [StorageError] * 2
    # Nobody knows what a disk that failed has kept, so it is not used any more.
    (again,) = state.run([lambda state: state.sent(1)], write=False)
    assert isinstance(again, StorageError)


def test_a_number_too_high_to_keep_fails_its_group_and_no_later_one(state: State):
    """A relay says what numbers it likes; it ends no thread with that."""
    good, bad = change(1), change(verdicts=[Verdict(EXPIRED, 1 << 70, 1 << 70, 0)])
    for done in state.run([lambda state: state.apply(good), lambda state: state.apply(bad)]):
        assert isinstance(done, StorageError)
    assert state.find(STREAM, 1) is None
    write(state, good)
    assert state.find(STREAM, 1) is not None


def test_a_full_disk_refuses_what_does_not_fit_and_serves_again_when_it_does(state: State):
    state._db.execute("PRAGMA max_page_count = 30")
    big = Change(STREAM, "owner", 0, [Outgoing(1, "alice", None, False, bytes(1 << 20))], last=1)
    (failed,) = state.run([lambda state: state.apply(big)])
    assert isinstance(failed, StorageError)
    write(state, change(1))


# -- what became of messages


def test_a_body_is_kept_until_there_is_a_verdict_and_no_longer(state: State):
    write(state, change(1, 2))
    assert [message.body for message in state.load(STREAM, 0, 9)] == [b"1", b"2"]
    write(state, change(verdicts=[Verdict(ACCEPTED, 1, 1, 5)], answered=1))
    assert [message.seq for message in state.load(STREAM, 0, 9)] == [2]
    (count,) = state._db.execute("SELECT count(body) FROM message").fetchone()
    assert count == 1
    assert state.queued() == 1


def test_a_late_verdict_takes_nothing_back(state: State):
    write(
        state,
        change(1, 2, verdicts=[Verdict(DELIVERED, 1, 1, 5), Verdict(ACCEPTED, 1, 2, 6)]),
        change(verdicts=[Verdict(EXPIRED, 1, 1, 7), Verdict(EXPIRED, 2, 2, 7)]),
    )
    assert [(record.state, record.delivered) for record in state.sent(9)] == [
        ("delivered", 5),
        ("expired", None),
    ]


def test_members_of_a_room_that_do_not_get_a_message_are_noted_beside_it(state: State):
    room = Outgoing(1, "@team", None, False, b"x")
    write(
        state,
        Change(STREAM, "owner", 0, [room, *messages(2)], last=2),
        change(
            verdicts=[
                Verdict(ACCEPTED, 1, 2, 5),
                Verdict(REFUSED, 1, 1, 5, "mailbox-full", "dan"),
                Verdict(EXPIRED, 1, 1, 6, "expired", "eve"),
                Verdict(EXPIRED, 1, 1, 6, "expired", "eve"),
                Verdict(EXPIRED, 2, 2, 6, "expired", "alice"),
            ]
        ),
    )
    assert [(record.state, record.missed) for record in state.sent(9)] == [
        ("accepted", {"dan": "mailbox-full", "eve": "expired"}),
        ("expired", {}),
    ]
    state.forget(forgetting.KEPT + 10)
    write(state, Change("t" * 22, "owner", 0, [room], last=1))
    (count,) = state._db.execute("SELECT count(*) FROM missed").fetchone()
    assert count == 0, "it is forgotten with its message"


def test_a_profile_of_the_first_version_is_brought_forward(tmp_path: pathlib.Path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(statefile, "MIGRATIONS", statefile.MIGRATIONS[:1])
        State(tmp_path).close()
    state = State(tmp_path)
    write(state, change(1))
    assert state.sent(9)[0].missed == {}


def test_messages_are_listed_by_time_and_by_state(state: State):
    write(state, change(1, stream="b" * 22, time=2), change(1, stream="a" * 22, time=1))
    write(state, change(2, stream="a" * 22, time=3, verdicts=[Verdict(ACCEPTED, 1, 1, 5)]))
    assert [(record.queued, record.seq) for record in state.sent(9)] == [(1, 1), (2, 1), (3, 2)]
    assert [record.queued for record in state.sent(1)] == [3]
    assert [record.queued for record in state.sent(9, "accepted")] == [1]


def test_what_has_a_verdict_is_forgotten_after_thirty_days_and_nothing_else(state: State):
    write(state, change(1, 2, verdicts=[Verdict(ACCEPTED, 1, 1, 0)], answered=1))
    write(state, change(1, stream="t" * 22, verdicts=[Verdict(ACCEPTED, 1, 1, 0)], answered=1))
    state.deal({("bob", STREAM): [1]}, 0)
    assert state.forget(forgetting.KEPT - 1) == {"owner"}
    assert len(state.sent(9)) == 3
    state.forget(forgetting.KEPT + 1)
    assert len(state.sent(9)) == 3, "once a day is enough"
    state.forget(forgetting.KEPT + forgetting.DAY)
    assert [record.seq for record in state.sent(9)] == [2]
    assert 1 in state.recall([("bob", STREAM)])[0]
    state.forget(forgetting.DEALT_KEPT + forgetting.DAY)
    assert 1 not in state.recall([("bob", STREAM)])[0]
    write(state, change(1, stream="t" * 22))


def test_memory_of_much_is_bounded(state: State, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(forgetting, "MOST_SETTLED", 3)
    monkeypatch.setattr(forgetting, "MOST_DEALT", 2)
    write(state, change(*range(1, 10), verdicts=[Verdict(ACCEPTED, 1, 8, 0)], answered=8))
    for number in range(5):
        state.deal({("bob", f"{number:022}"): [1]}, number)
    state.forget(1)
    assert len(state.sent(99)) == 4
    (count,) = state._db.execute("SELECT count(*) FROM dealt").fetchone()
    assert count == 2


def test_whoever_has_streams_without_end_has_only_its_own_forgotten(state: State, monkeypatch):
    monkeypatch.setattr(forgetting, "MOST_DEALT", 4)
    monkeypatch.setattr(forgetting, "MOST_OF_ONE", 2)
    for number in range(9):
        sender = "bob" if number < 2 else "mallory"
        state.deal({(sender, f"{number:022}"): [1]}, number)
    state.forget(9)
    left = state._db.execute("SELECT stream FROM dealt ORDER BY stream").fetchall()
    assert [int(stream) for (stream,) in left] == [0, 1, 7, 8]


def test_two_processes_note_what_they_dealt_with_in_one_history(state: State, tmp_path):
    other = State(tmp_path)
    state.deal({("bob", STREAM): [1, 3]}, 0)
    other.deal({("bob", STREAM): [2]}, 0)
    (seqs,) = state.recall([("bob", STREAM)])
    assert (seqs.highest, seqs.gaps) == (3, "")
