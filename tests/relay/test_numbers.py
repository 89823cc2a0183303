"""The numbers of a mailbox rise for ever: a client that has one ignores all below it."""

from __future__ import annotations

from pathlib import Path

import pytest

from securerelay.protocol import messages
from securerelay.relay.mailbox import EPOCH_SHIFT
from securerelay.store import copies
from tests.relay.world import World
from tests.store.samples import on_disk, result

LARGEST = (1 << 63) - 1
"""What a database can hold."""


def test_after_a_restart_numbers_go_on_above_those_that_were_never_written_down() -> None:
    world = World()
    alice, bob = world.join("alice"), world.join("bob")
    alice.open()
    bob.attend()
    alice.send(1, b"bob")
    ((first, *_),) = bob.of("msg")
    bob.say(messages.ack(first))
    world.crash()
    alice, bob = world.join("alice"), world.join("bob")
    alice.open(answered=1)
    bob.attend(first)
    alice.send(2, b"bob")
    ((second, *_),) = bob.of("msg")
    assert second > first


@pytest.mark.parametrize("year", [2027, 2045])
def test_after_a_restore_numbers_are_above_all_before_and_the_database_can_hold_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, year: int
) -> None:
    folder, other = tmp_path / "folder", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    store = on_disk(folder)
    before = result(store.open()).epoch
    result(store.backup(tmp_path / "copy"))
    result(store.close())
    monkeypatch.setattr(copies.time, "time", lambda: (year - 1970) * 365.25 * 86400)
    epoch = copies.restore(tmp_path / "copy", other).epoch
    assert epoch > before + 1_000_000
    assert (epoch + 1_000_000 << EPOCH_SHIFT) < LARGEST
