"""Lists that a relay serves in pages, and all the ways in which it may serve none."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from securerelay.client import pages
from securerelay.errors import RemoteError
from tests.relay.world import done

Answer = dict[str, Any]


def listed(*answers: Answer, fields: tuple[str, ...] = ()) -> tuple[list[Any], list[str]]:
    """All entries of a list that is served so, and what was asked for."""
    asked: list[str] = []

    async def ask(after: str) -> Answer:
        asked.append(after)
        return answers[min(len(asked), len(answers)) - 1]

    async def read() -> list[Any]:
        found = []
        async for answer in pages.pages(ask, "names", *fields):
            found += answer["names"]
        return found

    return done(Deferred.fromCoroutine(read())), asked


def test_each_page_is_asked_for_behind_the_last_name_of_the_one_before() -> None:
    answers = ({"names": ["a", "b"], "more": True}, {"names": ["c"], "more": False})
    assert listed(*answers) == (["a", "b", "c"], ["", "b"])
    assert listed({"names": [], "more": False}) == ([], [""])


def test_entries_may_be_more_than_names() -> None:
    rooms = [{"room": "@a", "member": True}, {"room": "@b", "member": False, "new": 1}]
    answer = {"names": rooms, "more": False}
    assert listed(answer, fields=("room", "member")) == (rooms, [""])


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"names": None, "more": False},
        {"names": {"a": 1}, "more": False},
        {"names": "abc", "more": False},
        {"names": ["a"]},
        {"names": ["a"], "more": "no"},
        {"names": [], "more": True},
        {"names": [7], "more": False},
        {"names": [["a"]], "more": False},
        {"names": [{"room": "@a"}], "more": False},
        {"names": ["b", "a"], "more": False},
        {"names": ["a", "a"], "more": False},
        {"names": [""], "more": False},
        {"names": ["A"], "more": False},
        {"names": ["\x1b[2J"], "more": False},
        {"names": ["\ud800"], "more": False},
        {"names": ["a" * 1000], "more": False},
    ],
)
def test_what_is_no_page_of_names_breaks_the_protocol(answer: Answer) -> None:
    with pytest.raises(RemoteError, match="protocol"):
        listed(answer)


@pytest.mark.parametrize(
    "entry", ["@a", {"room": "@a"}, {"member": True}, {"room": 1, "member": 1}]
)
def test_what_is_no_entry_breaks_the_protocol(entry: Any) -> None:
    with pytest.raises(RemoteError, match="protocol"):
        listed({"names": [entry], "more": False}, fields=("room", "member"))


def test_the_same_page_again_and_again_is_noticed() -> None:
    with pytest.raises(RemoteError, match="do not rise"):
        listed({"names": ["a", "b"], "more": True})


def test_a_list_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MOST", 100)
    answers = [{"names": [f"a{n}"], "more": True} for n in range(1000, 2000)]
    with pytest.raises(RemoteError, match="without end"):
        listed(*answers)
