"""A village or a town for every test."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from tests.client.sealing.town import Member, Town
from tests.client.sealing.village import Village


@pytest.fixture
def village(tmp_path: pathlib.Path) -> Village:
    """A relay in memory, and nobody there yet."""
    return Village(tmp_path)


@pytest.fixture
def town(tmp_path: pathlib.Path) -> Iterator[Town]:
    """The same, for people who have rooms."""
    made = Town(tmp_path)
    yield made
    made.close()


@pytest.fixture
def team(town: Town) -> tuple[Member, Member, Member]:
    """Alice has made a room with Bob and Carol."""
    alice, bob, carol = town.settle("alice", "bob", "carol")
    town.after(alice.owner.create("@team", ["bob", "carol"]))
    return alice, bob, carol
