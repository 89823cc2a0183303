"""The administrator's socket: one answer for each line, and nobody else gets in."""

from __future__ import annotations

import json
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock, StringTransport

from securerelay.errors import BadName, Refused, StorageError
from securerelay.relay.admin import AdminFactory, listen, socket_path
from tests.relay.in_memory import Recorded


class Fixture:
    """A connected administrator with a few verbs."""

    def __init__(self) -> None:
        self.recorded = Recorded()
        self.waiting: Deferred[None] = Deferred()
        factory = AdminFactory(
            {
                "echo": self.echo,
                "wait": self.wait,
                "bad": self.bad,
                "no": self.no,
                "broken": self.broken,
            },
            self.recorded.log,
        )
        self.transport = StringTransport()
        self.protocol = factory.buildProtocol(None)
        self.protocol.makeConnection(self.transport)

    async def echo(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"echo": arguments}

    async def wait(self, arguments: dict[str, Any]) -> dict[str, Any]:
        await self.waiting
        return {}

    async def bad(self, arguments: dict[str, Any]) -> dict[str, Any]:
        raise BadName("no name")

    async def no(self, arguments: dict[str, Any]) -> dict[str, Any]:
        raise Refused("unknown", "nobody of that name")

    async def broken(self, arguments: dict[str, Any]) -> dict[str, Any]:
        raise RuntimeError("a secret")

    def ask(self, line: bytes) -> list[dict[str, Any]]:
        self.transport.clear()
        self.protocol.dataReceived(line + b"\n")
        return self.answers()

    def answers(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.transport.value().splitlines()]


def test_a_verb_gets_its_arguments_and_is_answered() -> None:
    assert Fixture().ask(b'{"verb": "echo", "name": "alice"}') == [
        {"ok": True, "echo": {"name": "alice"}}
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"echo",
        b"[]",
        b"{}",
        b'"verb"',
        b'{"verb": 3}',
        b'{"verb": "x"}',
        b'{"verb": {}}',
        b"\xff",
    ],
)
def test_what_is_no_request_is_told_what_one_is(line: bytes) -> None:
    (answer,) = Fixture().ask(line)
    assert answer["code"] == "bad-request"
    assert "echo" in answer["message"]


def test_a_refusal_has_its_code_and_reason() -> None:
    fixture = Fixture()
    assert fixture.ask(b'{"verb": "bad"}') == [
        {"ok": False, "code": "refused", "message": "no name"}
    ]
    assert fixture.ask(b'{"verb": "no"}') == [
        {"ok": False, "code": "unknown", "message": "nobody of that name"}
    ]


def test_a_fault_of_the_relays_goes_to_the_log_and_not_to_the_administrator() -> None:
    fixture = Fixture()
    (answer,) = fixture.ask(b'{"verb": "broken"}')
    assert answer["code"] == "internal"
    assert "secret" not in answer["message"]
    assert fixture.recorded.lines[0].startswith("error admin.failed verb=broken error=")


def test_answers_come_in_the_order_of_the_requests() -> None:
    fixture = Fixture()
    assert fixture.ask(b'{"verb": "wait"}\n{"verb": "echo"}') == []
    fixture.waiting.callback(None)
    assert fixture.answers() == [{"ok": True}, {"ok": True, "echo": {}}]


def test_the_socket_is_the_owners_alone_and_replaces_one_of_a_dead_process(tmp_path: Path) -> None:
    path = socket_path(tmp_path)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    reactor = MemoryReactorClock()
    before = os.umask(0o022)
    try:
        listen(reactor, path, AdminFactory({}, Recorded().log))
    finally:
        assert os.umask(before) == 0o022, "the umask is as it was"
    ((address, _, _, mode, _),) = reactor.unixServers
    assert (address, mode) == (str(path), 0o600)
    assert not path.exists()


def test_a_file_of_the_sockets_name_is_left_alone(tmp_path: Path) -> None:
    from twisted.internet import reactor

    path = socket_path(tmp_path)
    path.write_text("something else")
    with pytest.raises(StorageError, match=r"admin\.sock: cannot be opened"):
        listen(reactor, path, AdminFactory({}, Recorded().log))  # type: ignore[arg-type]
    assert path.read_text() == "something else"
    assert stat.S_ISREG(path.lstat().st_mode)


def test_a_folder_whose_path_is_too_long_for_a_socket_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is too long"):
        socket_path(tmp_path / ("x" * 100))
