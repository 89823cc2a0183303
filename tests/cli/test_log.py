"""The key log is checked on demand, and an alarm has a status of its own."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from securerelay.cli.exits import Failure, sentence_of, status_of
from securerelay.cli.log import check
from tests.cli.people import Record
from tests.client.sealing.test_keylog import Log, leaf, true_leaves
from tests.client.sealing.town import Member, Town


@pytest.fixture
def town(tmp_path: pathlib.Path) -> Iterator[Town]:
    made = Town(tmp_path)
    yield made
    made.close()


def checked(one: Member) -> Record:
    client: Any = SimpleNamespace(sealing=SimpleNamespace(log=one.log), peer=one.name)
    out = Record()
    one.town.after(check(client, out))
    return out


def test_a_log_in_order_is_said_to_be(town: Town):
    alice, bob = town.settle("alice", "bob")
    out = checked(bob)
    assert out.said[0]["size"] == out.said[0]["read"] == 2
    assert (out.said[0]["own"], out.said[0]["hidden"]) == (1, False)
    (line,) = out.lines
    assert line.endswith("your certificate is entry 1; nobody else has one in your name")
    assert alice.words == bob.words == []


def test_what_the_policy_hides_is_said_to_be_hidden(town: Town, monkeypatch: pytest.MonkeyPatch):
    (alice,) = town.settle("alice")
    look = alice.log.look

    async def hidden() -> Any:
        report = await look()
        return type(report)(report.head, 0, True)

    monkeypatch.setattr(alice.log, "look", hidden)
    assert "is hidden by the relay's policy" in checked(alice).lines[0]


def test_a_second_one_of_our_name_is_an_alarm(town: Town):
    (bob,) = town.settle("bob")
    Log(*true_leaves(bob), leaf("bob")).serve(town)
    with pytest.raises(Failure) as alarm:
        checked(bob)
    assert status_of(alarm.value) == 9
    said = sentence_of(alarm.value)
    assert said.startswith("ALARM: the relay issued a certificate for bob that is not yours; ")
    assert "verify" in said
