"""Sealed rooms as people use them, with real processes from the first invitation on."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.end_to_end.test_sealed_demo import load_demo, tolerate


class People:
    """Three peers of one relay, each with the ``securerelay`` command."""

    def __init__(self, stage: Any) -> None:
        self.stage = stage
        for name in ("alice", "bob", "carol"):
            invitation = stage.run("invite", name, "--data", str(stage.data))
            stage.run("join", "-", "--key-bits", "2048", given=invitation)

    def run(self, who: str, *words: str, status: int = 0) -> str:
        said: str = self.stage.run(*words, "--profile", who, status=status)
        return said

    def reads(self, who: str, timeout: str = "2s") -> list[str]:
        """What somebody is shown of what came, without the times."""
        said = self.run(who, "listen", "--timeout", timeout)
        return [line.split(" ", 2)[2] for line in said.splitlines()]


@pytest.fixture
def people(tmp_path: pathlib.Path) -> Iterator[People]:
    stage = load_demo().Demo(tmp_path)
    tolerate(stage, "@everyone", "@status")
    with stage.relay():
        yield People(stage)


def test_who_is_added_reads_what_comes_and_who_is_removed_reads_no_more(people: People):
    people.run("alice", "room", "create", "@team", "bob")
    people.run("alice", "send", "@team", "one")
    assert people.reads("bob") == ["alice in @team: one"]
    people.run("alice", "room", "add", "@team", "carol")
    people.run("bob", "send", "@team", "two")
    assert people.reads("carol") == ["bob in @team: two"]
    people.run("alice", "room", "remove", "@team", "bob")
    people.run("alice", "send", "@team", "three")
    assert people.reads("carol") == ["alice in @team: three"]
    assert people.reads("bob") == []
    people.run("bob", "send", "@team", "four", status=5)
    # What a member wrote who is none any more is not shown to who comes to it only now.
    assert people.reads("alice") == []


def test_the_owner_of_an_open_room_is_asked_and_agrees(
    people: People, capsys: pytest.CaptureFixture[str]
):
    people.run("alice", "room", "create", "@news", "--join", "open")
    said = people.run("bob", "room", "join", "@news")
    assert said == "alice has been asked to let you into @news"
    people.reads("alice")
    assert "bob asks to be in @news" in capsys.readouterr().out
    people.run("alice", "room", "add", "@news", "bob")
    people.run("alice", "send", "@news", "welcome")
    assert people.reads("bob") == ["alice in @news: welcome"]


def test_admins_look_after_a_room_and_who_leaves_is_taken_off_its_list(
    people: People, capsys: pytest.CaptureFixture[str]
):
    people.run("alice", "room", "create", "@team", "bob")
    people.run("alice", "room", "admin", "@team", "add", "bob")
    people.run("bob", "room", "add", "@team", "carol")
    assert people.run("carol", "room", "members", "@team").splitlines() == [
        "alice (owner)",
        "bob (admin)",
        "carol",
    ]
    people.run("carol", "send", "@team", "one")
    assert people.reads("alice") == people.reads("bob") == ["carol in @team: one"]
    people.run("alice", "room", "admin", "@team", "remove", "bob")
    people.run("bob", "room", "remove", "@team", "carol", status=1)
    people.run("bob", "room", "leave", "@team")
    people.reads("alice", "8s")  # long enough that a client looks who left
    assert "list 5" in people.run("alice", "room", "show", "@team")
    people.run("alice", "send", "@team", "two")
    assert people.reads("bob") == []
    assert people.reads("carol") == ["alice in @team: two"]
    people.run("alice", "room", "change", "@team", "--owner", "carol", status=1)
    assert "a sealed room cannot be handed over" in capsys.readouterr().out


def test_who_may_not_send_plain_messages_is_told_what_to_do(
    people: People, capsys: pytest.CaptureFixture[str]
):
    people.run("alice", "send", "bob", "open", "--plain-with", "bob", status=1)
    assert "have the administrator name one of you in [policy] plain" in capsys.readouterr().out
    log = people.stage.log.read_text()
    assert log.count("message.unsealed source=alice to=bob") == 1
    people.run("alice", "send", "bob", "sealed")
    assert people.reads("bob") == ["alice: sealed"]


def test_services_have_plain_rooms_that_are_named_as_such(people: People):
    people.run("alice", "room", "create", "@status", "bob", "--plain")
    refused = people.run("alice", "send", "@status", "deployed", status=9)
    assert refused == ""
    people.run("alice", "send", "@status", "deployed", "--plain-with", "@status")
    assert people.reads("bob") == []
    people.run("alice", "send", "@status", "again", "--plain-with", "@status")
    said = people.run("bob", "listen", "--timeout", "2s", "--plain-with", "@status")
    assert said.endswith("alice in @status (not sealed): again")
