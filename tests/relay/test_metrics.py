"""The page of numbers: what it tells, where it is, and that nobody's name is on it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.testing import StringTransport

from securerelay.errors import ConfigError, LocalError
from securerelay.relay import metrics
from securerelay.relay.config import Metrics
from tests.relay.in_memory import Relay
from tests.relay.world import Guest, World, done

ON = Metrics(listen=("tcp:9464",))


@pytest.fixture
def relay(tmp_path: Path) -> Relay:
    return Relay(tmp_path, metrics=ON).start()


def get(relay: Relay, path: str = "/metrics") -> tuple[str, dict[str, float]]:
    """Ask for a page; returns the first line and the numbers on it."""
    (server,) = [server for server in relay.reactor.tcpServers if server[0] == 9464]
    protocol, transport = server[1].buildProtocol(None), StringTransport()
    protocol.makeConnection(transport)
    protocol.dataReceived(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head, _, body = transport.value().partition(b"\r\n\r\n")
    numbers = [line.rpartition(" ") for line in body.decode().splitlines() if line[:1] == "s"]
    return head.decode().splitlines()[0], {name: float(value) for name, _, value in numbers}


def test_there_is_no_page_unless_it_is_wanted(tmp_path: Path) -> None:
    relay = Relay(tmp_path).start()
    assert [server[0] for server in relay.reactor.tcpServers] == [3000]


def test_a_port_without_an_interface_is_local() -> None:
    given = ("tcp:9464", "tcp:9464:interface=192.0.2.1", "unix:/run/numbers")
    assert metrics.endpoints(given) == (
        "tcp:9464:interface=127.0.0.1",
        "tcp:9464:interface=192.0.2.1",
        "unix:/run/numbers",
    )


def test_the_page_is_on_this_machine_alone_and_ends_with_the_relay(relay: Relay) -> None:
    assert [server[3] for server in relay.reactor.tcpServers if server[0] == 9464] == ["127.0.0.1"]
    assert any("metrics.ready" in line for line in relay.recorded.lines)
    before = len(relay.recorded.lines)
    get(relay)
    assert len(relay.recorded.lines) == before, "who looks is not worth a line"
    relay.run(relay.service.stop())
    assert relay.service._pages is None


def test_the_page_tells_what_goes_on(relay: Relay) -> None:
    gate = relay.service.gate
    for _ in range(3):
        gate.penalise("192.0.2.1", "failed")
    gate.arrived("192.0.2.1")
    gate.failures["bad-line"] += 3
    token = bytes.fromhex(relay.ask("invite", name="alice")["token"])
    assert done(relay.service.store.dispute(token, 1))
    relay.reactor.advance(61)
    relay.work()
    gate.penalise("192.0.2.2", "timeout")
    gate.penalise("192.0.2.2", "timeout")
    status, told = get(relay)
    assert status == "HTTP/1.1 200 OK"
    assert told['securerelay_strangers_refused_total{reason="penalty"}'] == 1
    assert told['securerelay_handshakes_total{result="bad-line"}'] == 3
    assert told['securerelay_handshakes_total{result="ok"}'] == 0
    assert (told["securerelay_penalties"], told["securerelay_alarms"]) == (1, 1)
    assert told["securerelay_certificate_expiry_seconds"] > relay.reactor.seconds()
    assert {name for name in metrics.GAUGES if f"securerelay_{name}" not in told} == set()


def test_names_and_addresses_are_not_on_the_page(relay: Relay) -> None:
    relay.enrol("alice")
    relay.ask("invite", name="bobby")
    relay.service.gate.penalise("192.0.2.1", "failed")
    _, told = get(relay)
    page = " ".join(told)
    assert not any(secret in page for secret in ("alice", "bobby", "192.0.2"))


def test_there_is_nothing_else(relay: Relay) -> None:
    assert get(relay, "/")[0] == "HTTP/1.1 404 Not Found"


def test_without_the_package_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ConfigError, match=r"pip install 'securerelay\[metrics\]'"):
        Relay(tmp_path, metrics=ON).start()


def test_a_page_that_cannot_be_had_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    relay = Relay(tmp_path, metrics=ON)
    listen = relay.reactor.listenTCP

    def taken(port: int, *given: Any, **more: Any) -> Any:
        if port == 9464:
            raise OSError(98, "Address already in use")
        return listen(port, *given, **more)

    monkeypatch.setattr(relay.reactor, "listenTCP", taken)
    with pytest.raises(LocalError, match="cannot listen on tcp:9464"):
        relay.start()


# --- what is counted ---


def counted(world: World) -> tuple[int, int, dict[str, int]]:
    router = world.router
    return router.accepted, router.delivered, dict(router.refused)


def send(guest: Guest, first: int, count: int, to: bytes, ttl: int | None = None) -> None:
    for seq in range(first, first + count):
        guest.send(seq, to, ttl=ttl)
    guest.world.run(1)


def test_messages_are_counted_as_they_are_accepted_delivered_and_refused() -> None:
    world = World()
    alice, bob = world.join("alice"), world.join("bob")
    alice.open()
    send(alice, 1, 3, b"bob")
    assert counted(world) == (3, 0, {})
    bob.attend()
    world.run(1)
    last = bob.of("msg")[-1][0]
    bob.connection.send(b"ACK %d\n" % last)
    world.run(1)
    assert counted(world) == (3, 3, {})
    send(alice, 4, 2, b"missing")
    assert counted(world) == (3, 3, {"unknown": 2})
    send(alice, 6, 4, b"bob", ttl=0)
    assert counted(world) == (7, 3, {"unknown": 2})
    bob.connection.send(b"ACK %d\n" % bob.of("msg")[-1][0])
    world.run(1)
    assert counted(world) == (7, 7, {"unknown": 2})
