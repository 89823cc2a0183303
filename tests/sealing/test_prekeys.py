"""Prekeys are kept as long as something may need them, and no longer."""

from __future__ import annotations

from securerelay.crypto import primitives
from securerelay.sealing.prekeys import Prekey, may_be_destroyed
from tests.sealing.world import DAY, HOUR, MS

SUPERSEDED = MS


def test_an_id_is_the_beginning_of_the_public_keys_hash() -> None:
    prekey = Prekey(bytes(range(96)))
    assert prekey.id == primitives.sha256(prekey.public)[:8]
    assert Prekey(prekey.private) == prekey


def test_every_prekey_is_another_one() -> None:
    assert Prekey.generate().id != Prekey.generate().id


def gone(now: int, drained: int | None = None, named: bool = False) -> bool:
    return may_be_destroyed(SUPERSEDED, drained, named, now)


def test_the_newest_one_is_kept_however_old() -> None:
    assert not may_be_destroyed(None, MS, False, MS + 400 * DAY)


def test_it_is_kept_for_two_hours_after_it_was_superseded() -> None:
    assert not gone(MS + 2 * HOUR - 1, MS + 2 * HOUR - 1)
    assert gone(MS + 2 * HOUR, MS + 2 * HOUR)


def test_it_is_kept_until_all_that_came_in_these_two_hours_is_processed() -> None:
    assert not gone(MS + 13 * DAY)
    assert not gone(MS + 13 * DAY, MS + 2 * HOUR - 1)
    assert gone(MS + 13 * DAY, MS + 13 * DAY)


def test_it_is_kept_while_a_waiting_message_names_it() -> None:
    assert not gone(MS + 13 * DAY, MS + 13 * DAY, named=True)


def test_after_sixteen_days_it_is_gone_whatever_waits() -> None:
    assert not gone(MS + 16 * DAY - 1, named=True)
    assert gone(MS + 16 * DAY, named=True)
