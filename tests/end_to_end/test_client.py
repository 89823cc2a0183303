"""Programs of the client library against a real relay, over real sockets."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.daemon import PATIENCE, Daemon, environment, running
from tests.relay.folders import copy_folder

PROGRAM = Path(__file__).parent / "peers.py"


class Peer:
    """One such program, running; ``heard`` is what it has said."""

    def __init__(self, folder: Path, *invitation: str) -> None:
        self.heard: list[list[Any]] = []
        self._news = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, PROGRAM, folder, *invitation],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.heard.append(json.loads(line))
                self._news.notify_all()

    def order(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def expect(self, *what: Any, times: int = 1) -> list[Any]:
        """Wait until it has said something that begins so."""
        deadline = time.monotonic() + PATIENCE
        with self._news:
            while True:
                found = [said for said in self.heard if said[: len(what)] == list(what)]
                if len(found) >= times:
                    return found[times - 1]
                assert time.monotonic() < deadline, f"no {what} in {self.heard}"
                self._news.wait(1)

    def leave(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self.process.stderr is not None
        complaints = self.process.stderr.read()
        assert (code, complaints) == (0, "")


@pytest.fixture(scope="module")
def made_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete data folder to copy."""
    return copy_folder(tmp_path_factory.mktemp("made") / "data")


def joined(daemon: Daemon, folder: Path, name: str) -> Peer:
    peer = Peer(folder / name, daemon.admin("invite", name=name)["uri"])
    assert peer.expect("joined") == ["joined", name]
    peer.expect("connected")
    return peer


def test_two_programs_join_and_talk_and_go_on_after_the_relay_was_restarted(
    tmp_path: Path, made_folder: Path
) -> None:
    with running(tmp_path, like=made_folder) as daemon:
        port = daemon.port
        alice, bob = (joined(daemon, tmp_path, name) for name in ("alice", "bob"))
        alice.order("deliver bob good morning")
        bob.expect("message", "alice", "good morning")
        assert alice.expect("deliver")[-1] is True
        bob.order("send alice good morning to you")
        alice.expect("message", "bob", "good morning to you")
        alice.order("send nobody hello")
        alice.expect("refused", "unknown")
        alice.order("call peer.list")
        listed = alice.expect("answer")[1]["peers"]
        assert [one["peer"] for one in listed] == ["alice", "bob"]
    for peer in (alice, bob):
        peer.expect("disconnected")
    alice.order("send bob while nobody was there")
    with running(tmp_path, "--port", f"tcp:{port}:interface=127.0.0.1", like=made_folder):
        bob.expect("message", "alice", "while nobody was there")
        assert alice.expect("send", "while nobody was there")
        said = [one[2] for one in bob.heard if one[0] == "message"]
        assert said == ["good morning", "while nobody was there"]
        for peer in (alice, bob):
            peer.leave()


def test_a_revoked_program_is_told_at_once_and_cannot_come_back(
    tmp_path: Path, made_folder: Path
) -> None:
    with running(tmp_path, like=made_folder) as daemon:
        carol = joined(daemon, tmp_path, "carol")
        assert daemon.admin("revoke", name="carol")["ok"]
        assert "revoked" in carol.expect("over")[1]
        carol.leave()
        again = Peer(tmp_path / "carol")
        again.process.wait(PATIENCE)
        assert again.process.stderr is not None
        assert "AuthenticationFailed: revoked" in again.process.stderr.read()


def test_a_program_at_the_wrong_relay_gets_an_authentication_error(
    tmp_path: Path, made_folder: Path
) -> None:
    with running(tmp_path, like=made_folder) as daemon:
        dave = joined(daemon, tmp_path, "dave")
        dave.leave()
        port = daemon.port
    other = tmp_path / "other"
    other.mkdir()
    with running(other, "--port", f"tcp:{port}:interface=127.0.0.1"):
        again = Peer(tmp_path / "dave")
        again.process.wait(PATIENCE)
        assert again.process.stderr is not None
        complaint = again.process.stderr.read()
        assert "AuthenticationFailed" in complaint
        assert "not the relay that this profile belongs to" in complaint


def test_the_ten_lines_of_the_documentation_talk_through_a_real_relay(
    tmp_path: Path, made_folder: Path, root: Path
) -> None:
    with running(tmp_path, like=made_folder) as daemon:
        for name in ("alice", "bob"):
            joined(daemon, tmp_path, name).leave()
        programs = {
            name: subprocess.Popen(
                [sys.executable, root / "docs/examples/hello.py", tmp_path / name, friend],
                env=environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for name, friend in (("alice", "bob"), ("bob", "alice"))
        }
        said = {name: program.communicate(timeout=PATIENCE) for name, program in programs.items()}
    assert said == {
        "alice": ("bob says hello from a program\n", ""),
        "bob": ("alice says hello from a program\n", ""),
    }
