"""A relay answers ``key.fetch`` with anything at all: no client ends, and none learns from it."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from securerelay.errors import SecureRelayError
from tests.client.sealing.town import Answer, Town


@pytest.fixture
def town(tmp_path: pathlib.Path) -> Iterator[Town]:
    made = Town(tmp_path)
    yield made
    made.close()


def deep(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


ENTRIES: dict[str, Any] = {
    "a number": 5,
    "a list": ["bundle"],
    "a bundle that is a number": {"bundle": 7},
    "a bundle that is no base64url": {"bundle": "\x1b[2J"},
    "a megabyte": {"bundle": "A" * 1_000_000},
    "no state": {"state": None},
    "a place beyond all": {"index": 1 << 70},
    "a place before the first": {"index": -1},
    "a place that is true": {"index": True},
    "a leaf that is a list": {"leaf": deep(500)},
    "a deep proof": {"proof": deep(500)},
    "a long proof": {"proof": ["A"] * 50_000},
    "a proof of long hashes": {"proof": ["A" * 1_000_000]},
}


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_an_entry_that_is_none_is_refused_and_the_next_answer_counts(
    town: Town, entry: Any
) -> None:
    alice, bob = town.settle("alice", "bob")

    def lie(who: Any, asked: Answer, said: Answer) -> Answer | None:
        true = said["bundles"].get("bob")
        if who is not alice or true is None:
            return None
        return {"bundles": {"bob": {**true, **entry} if isinstance(entry, dict) else entry}}

    town.lies["key.fetch"] = lie
    with pytest.raises(SecureRelayError):
        alice.say("bob", "secret")
    assert alice.bodies == []
    town.lies.clear()
    town.skip(120)
    alice.say("bob", "hello")
    assert bob.texts == ["alice: hello"]


@pytest.mark.parametrize("bundles", [None, [], "bob", 7, {}])
def test_an_answer_that_is_none_is_refused(town: Town, bundles: Any) -> None:
    alice, _ = town.settle("alice", "bob")
    town.lies["key.fetch"] = lambda who, asked, said: {"bundles": bundles}
    with pytest.raises(SecureRelayError):
        alice.say("bob", "secret")
    assert alice.bodies == []


def test_thousands_that_were_not_asked_for_are_not_looked_at(town: Town) -> None:
    alice, bob = town.settle("alice", "bob")
    others = {f"other{n}": {"state": "active", "bundle": "A" * 100} for n in range(5000)}
    town.lies["key.fetch"] = lambda who, asked, said: {"bundles": {**others, **said["bundles"]}}
    alice.say("bob", "hello")
    assert bob.texts == ["alice: hello"]
    known = town.after(alice.journal.do(alice.vault.contacts, write=False))
    assert [one.name for one in known] == ["bob"]
    assert set(alice.contacts._pins) == {"bob"}


@pytest.mark.parametrize(
    "answer",
    [
        {"peers": []},
        {"rooms": None, "more": False},
        {"rooms": [], "more": True},
        {"rooms": [{"room": "@team"}], "more": False},
        {"rooms": [{"room": "@team", "member": True, "listed": 1}], "more": True},
    ],
)
def test_a_list_of_rooms_that_is_none_or_never_ends_is_given_up(town: Town, answer: Answer) -> None:
    (alice,) = town.settle("alice")
    town.lies["room.list"] = lambda who, asked, said: answer
    with pytest.raises(SecureRelayError):
        town.after(alice.lists.ours())
    assert len([one for one in town.asked if one[1] == "room.list"]) <= 2


@pytest.mark.parametrize(
    "answer",
    [
        {"peers": []},
        {"members": None, "more": False},
        {"members": [], "more": True},
        {"members": [{"peer": "bob"}], "more": False},
        {"members": ["alice", "bob"], "more": True},
    ],
)
def test_members_that_are_none_or_never_end_change_no_list(town: Town, answer: Answer) -> None:
    alice, _ = town.settle("alice", "bob")
    town.after(alice.owner.create("@team", ["bob"]))
    town.lies["room.members"] = lambda who, asked, said: answer
    before = len(town.asked)
    with pytest.raises(SecureRelayError):
        town.after(alice.owner.settle("@team"))
    assert len([one for one in town.asked[before:] if one[1] == "room.members"]) <= 2
    assert "room.publish" not in [method for _, method, _ in town.asked[before:]]


@pytest.mark.parametrize("bundles", [None, [], 7, {"alice": 7}, {"alice": {"bundle": 7}}])
def test_an_answer_about_ourselves_that_is_none_is_refused(town: Town, bundles: Any) -> None:
    (alice,) = town.settle("alice")
    town.lies["key.fetch"] = lambda who, asked, said: {"bundles": bundles}
    with pytest.raises(SecureRelayError):
        town.after(alice.own._is_served(1))
    head = town.after(alice.log.look()).head
    with pytest.raises(SecureRelayError):
        town.after(alice.log.find_own(head))
