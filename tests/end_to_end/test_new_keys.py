"""A peer gets new keys at a real relay, by the command line: contacts follow, thieves do not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.daemon import PATIENCE, Daemon, running
from tests.end_to_end.people import Person, enrol
from tests.relay.folders import copy_folder

SMALL = ("--key-bits", "2048")

CUT_SHORT = """
import os, sys
from securerelay.identity.nextkey import NextKey
NextKey.adopt = lambda *_, **__: os._exit(9)  # the answer has come, and is lost
from securerelay.cli.entry import main
sys.argv = ["securerelay", "renew", "--new-key", "--bits", "2048"]
main()
"""


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Daemon]:
    (tmp_path / "relay.toml").write_text('listen = ["tcp:0:interface=127.0.0.1"]\n')
    made = copy_folder(tmp_path / "made")
    with running(tmp_path, "--config", tmp_path / "relay.toml", like=made) as daemon:
        yield daemon


def key_of(person: Person) -> str:
    (shown,) = person.must("keys", "show", "--json").records
    return str(shown["sha256"])


def texts(person: Person, count: int) -> list[str]:
    said = person.must("listen", "--count", str(count), "--json").records
    return [str(one["text"]) for one in said if "text" in one]


def test_new_keys(relay: Daemon, tmp_path: Path) -> None:
    alice = enrol(relay.data, tmp_path, "alice", *SMALL)
    bob = enrol(relay.data, tmp_path, "bob", *SMALL)
    bob.must("send", "alice", "hello")
    assert texts(alice, 1) == ["hello"]
    alice.must("verify", "bob", "--yes")
    alice.must("send", "bob", "sealed for the old key")
    before = key_of(bob)
    stolen = Person(tmp_path / "thief")
    shutil.copytree(bob.profiles, stolen.profiles)

    # The answer of the relay is lost; the old key goes on, and the new one is asked for again.
    cut = subprocess.run(
        [sys.executable, "-c", CUT_SHORT],
        env=bob.environment,
        cwd=bob.home,
        timeout=PATIENCE,
        check=False,
    )
    assert cut.returncode == 9
    assert key_of(bob) == before
    bob.must("log", "verify")  # both keys in the log are his
    (made,) = bob.must("renew", "--new-key", "--bits", "2048", "--json").records
    assert made["used"] is True
    assert made["sha256"] == key_of(bob) != before

    # What was sealed for the old key is read, also by who has not heard of the new one yet.
    assert texts(bob, 1) == ["sealed for the old key"]
    alice.must("send", "bob", "sealed for it again")
    assert texts(bob, 1) == ["sealed for it again"]
    # The contact follows, and what is sealed for the new key is read.
    bob.must("send", "alice", "hello again")
    assert texts(alice, 1) == ["hello again"]
    (contact,) = alice.must("contacts", "--json").records
    assert (contact["name"], contact["level"], contact["blocked"]) == ("bob", "changed", None)
    alice.must("send", "bob", "sealed for the new key")
    assert texts(bob, 1) == ["sealed for the new key"]
    bob.must("log", "verify")

    # The old key is of no use.
    refused = stolen.run("who")
    assert refused.status != 0
    assert "another key of this name has taken its place" in refused.err
    assert bob.must("renew").status == 0
