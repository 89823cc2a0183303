"""Which keys would be used, and why, without sending anything."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from securerelay.cli.exits import Failure
from securerelay.cli.explain import explain
from securerelay.cli.send import BYTES, TEXT, type_of
from tests.cli.conftest import Run
from tests.cli.people import Record
from tests.client.sealing.town import Member, Town


@pytest.fixture
def town(tmp_path: pathlib.Path) -> Iterator[Town]:
    made = Town(tmp_path)
    yield made
    made.close()


def explained(one: Member, to: str, plain: bool = False) -> Record:
    """What somebody would be told."""
    sealing: Any = SimpleNamespace(
        contacts=one.contacts,
        journal=one.journal,
        vault=one.vault,
        own=one.own,
        rooms=one.parts,
        letter=lambda to, kind: None if plain else object(),
    )
    out = Record()
    one.town.after(explain(SimpleNamespace(sealing=sealing), out, to))  # type: ignore[arg-type]
    return out


def test_a_peers_keys_are_told_and_nothing_is_sent(town: Town):
    alice, bob = town.settle("alice", "bob")
    out = explained(alice, "bob")
    fp = bob.own.identity.fp.hex()
    assert out.said[0]["fingerprint"] == fp
    assert out.said[0]["bundle"] == bob.own.number
    assert out.said[0]["prekey"] == next(iter(bob.own._prekeys)).hex()
    assert out.lines[0].startswith("sealed for bob, seen since 2030-")
    assert fp[:4] in out.lines[0]
    assert len(out.lines) == 4
    assert alice.bodies == []


def test_a_rooms_list_is_told_with_who_gets_no_key(town: Town):
    alice, *_ = town.settle("alice", "bob", "carol")
    town.after(alice.owner.create("@team", ["bob", "carol"]))
    out = explained(alice, "@team")
    assert out.said[0]["ready"] == ["bob", "carol"]
    assert out.lines[1:3] == ["a key goes to: bob, carol", "not to: -"]
    assert alice.told == []


def test_what_stops_a_message_is_told(town: Town):
    alice, bob = town.settle("alice", "bob")
    town.after(alice.contacts.want("bob"))
    raw = next(asked for who, method, asked in town.asked if method == "key.publish")["bundle"]
    town.lies["key.fetch"] = lambda who, asked, said: {
        "bundles": {"bob": {"state": "active", "bundle": raw}}
    }
    town.skip(3700)
    with pytest.raises(Failure, match="the relay serves no valid keys of bob"):
        explained(alice, "bob")
    assert bob.bodies == []


def test_who_is_named_as_plain_is_said_to_be(town: Town):
    (alice,) = town.settle("alice")
    assert explained(alice, "reports", plain=True).lines == [
        "not sealed, since reports is named as plain"
    ]


@pytest.mark.parametrize("more", [["text"], ["--lines"], ["--queue"], ["--once", "k"]])
def test_what_would_be_sent_is_not_taken_with_it(run: Run, more: list[str]):
    assert run("send", "bob", *more, "--explain").status == 2


def test_text_is_said_to_be_text():
    assert (type_of("hé".encode()), type_of(b"\xff")) == (TEXT, BYTES)
