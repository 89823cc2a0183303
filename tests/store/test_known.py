"""Peers that the store remembers: always what the database says."""

from __future__ import annotations

from pathlib import Path

import pytest

from securerelay.errors import Refused
from securerelay.store import known
from securerelay.store.sqlite import SqliteStore
from tests.store.samples import NOW, Lanes, certificate, enrol, on_disk, result, ticket


class Counted:
    """A store on disk whose lanes a test holds; alice is enrolled."""

    def __init__(self, folder: Path) -> None:
        self.lanes = Lanes()
        self.store: SqliteStore = on_disk(folder, lane=self.lanes)
        result(self.store.open())
        enrol(self.store, "alice")
        self.read, self.write = self.lanes.made["read"], self.lanes.made["write"]

    def state(self) -> str:
        peer = result(self.store.lookup("alice"))
        assert peer is not None
        return peer.state


@pytest.fixture
def counted(tmp_path: Path) -> Counted:
    return Counted(tmp_path)


def test_a_peer_is_looked_up_once(counted: Counted) -> None:
    first = result(counted.store.lookup("alice"))
    counted.read.held = True
    assert result(counted.store.lookup("alice")) is first


def test_whoever_took_a_ticket_is_known(counted: Counted) -> None:
    result(counted.store.ticket_put([ticket("alice")]))
    redeemed = result(counted.store.ticket_take(ticket("").id_sha256, NOW, lambda _: None))
    assert redeemed is not None
    counted.read.held = True
    assert result(counted.store.lookup("alice")) is redeemed.peer


def test_that_there_is_nobody_is_not_remembered(counted: Counted) -> None:
    assert result(counted.store.lookup("bob")) is None
    bob = enrol(counted.store, "bob")
    assert result(counted.store.lookup("bob")) == bob


def test_a_revocation_shows_at_once(counted: Counted) -> None:
    assert counted.state() == "active"
    result(counted.store.revoke("alice", NOW))
    assert counted.state() == "revoked"


def test_a_renewal_shows_at_once(counted: Counted) -> None:
    assert counted.state() == "active"
    renewed = result(counted.store.renew(certificate("alice", 2)))
    assert result(counted.store.lookup("alice")) == renewed


def test_a_change_that_failed_changes_nothing(counted: Counted) -> None:
    with pytest.raises(Refused):
        result(counted.store.revoke("bob", NOW))
    assert counted.state() == "active"


def test_what_is_read_while_a_revocation_is_written_is_not_remembered(counted: Counted) -> None:
    counted.write.held = True
    revoked = counted.store.revoke("alice", NOW)
    assert counted.state() == "active"
    counted.write.release()
    result(revoked)
    assert counted.state() == "revoked"


def test_what_was_read_before_a_revocation_and_told_after_it_is_not_remembered(
    counted: Counted,
) -> None:
    counted.read.held = True
    late: list[object] = []
    looking = counted.store.lookup("alice")
    looking.addCallback(late.append)
    jobs, counted.read._jobs = counted.read._jobs, []
    (change,) = jobs
    found = change.work(counted.store._engine._opened.reader)  # type: ignore[union-attr]
    result(counted.store.revoke("alice", NOW))
    change.answer.callback(found)
    assert late
    counted.read.held = False
    assert counted.state() == "revoked"


def test_only_so_many_are_remembered(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "MOST", 2)
    for name in ("bob", "carol"):
        enrol(counted.store, name)
    for name in ("alice", "bob", "carol"):
        result(counted.store.lookup(name))
    counted.read.held = True
    assert [counted.store.lookup(name).called for name in ("alice", "bob", "carol")] == [
        False,
        True,
        True,
    ]
