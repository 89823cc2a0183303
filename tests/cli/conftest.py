"""A command line without a process, and a relay's administration socket without a relay."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from securerelay.cli import admin, settings
from securerelay.cli.entry import perform


@dataclass
class Ran:
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.err)
        return value


Run = Callable[..., Ran]


@pytest.fixture(autouse=True)
def no_system_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The machine's own settings are out of sight; tests write theirs to the path returned."""
    path = tmp_path / "etc-client.toml"
    monkeypatch.setattr(settings, "SYSTEM", path)
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line, and tell its status and output."""

    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        status = perform(arguments)
        captured = capsys.readouterr()
        return Ran(status, captured.out, captured.err)

    return run


@dataclass
class FakeRelay:
    """Answers at the administration socket; a verb without an answer says ok, and no more."""

    folder: Path
    answers: dict[str, Any] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)
    raw: bytes | None = None
    error: OSError | None = None

    def socket(self, family: int) -> FakeSocket:
        return FakeSocket(self)


class FakeSocket:
    """The one connection of a request."""

    def __init__(self, relay: FakeRelay) -> None:
        self.relay = relay
        self.answer = b""

    def __enter__(self) -> FakeSocket:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def settimeout(self, seconds: float) -> None:
        assert seconds > 0

    def connect(self, path: str) -> None:
        if self.relay.error is not None:
            raise self.relay.error
        assert path == str(self.relay.folder / "admin.sock")

    def sendall(self, data: bytes) -> None:
        assert data.endswith(b"\n")
        request = json.loads(data)
        self.relay.requests.append(request)
        if self.relay.raw is not None:
            self.answer = self.relay.raw
        else:
            answer = self.relay.answers.get(request["verb"], {})
            self.answer = json.dumps({"ok": True, **answer}).encode() + b"\n"

    def recv(self, size: int) -> bytes:
        # An answer may come in pieces.
        block, self.answer = self.answer[:7], self.answer[7:]
        return block


@pytest.fixture
def relay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeRelay:
    """A relay on the folder that every verb is told."""
    fake = FakeRelay(tmp_path / "relay")
    fake.folder.mkdir()
    monkeypatch.setattr(admin.socket, "socket", fake.socket)
    monkeypatch.setenv("SECURERELAY_DATA", str(fake.folder))
    return fake
