"""Where the relay listens: ports taken first, opened later, and what is wrong told in one line."""

from __future__ import annotations

import socket

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.tls import TLSMemoryBIOFactory

from securerelay.errors import ConfigError, LocalError
from securerelay.relay.config import Config, Tls
from securerelay.relay.listening import Listeners
from securerelay.relay.tls import OwnCertificate


def listeners(reactor: object, *listen: str, tls: tuple[str, ...] = ()) -> Listeners:
    config = Config(listen=listen, tls=Tls(listen=tls))
    return Listeners(reactor, config, OwnCertificate())  # type: ignore[arg-type]


def test_tcp_ports_are_taken_at_once_and_the_rest_on_opening() -> None:
    reactor = MemoryReactorClock()
    places = listeners(reactor, "tcp:3000", "unix:/run/x.sock", tls=("tcp:3001",))
    places.take_ports()
    assert [server[0] for server in reactor.tcpServers] == [3000, 3001]
    assert reactor.unixServers == []
    opened = Deferred.fromCoroutine(places.open(Factory()))
    assert opened.called
    assert reactor.unixServers[0][0] == "/run/x.sock"
    assert places.first_port() == 3000


def test_an_endpoint_inside_tls_wraps_the_sessions() -> None:
    reactor = MemoryReactorClock()
    listeners(reactor, "tcp:3000", tls=("tcp:3001",)).take_ports()
    plain, wrapped = (server[1] for server in reactor.tcpServers)
    assert not isinstance(plain, TLSMemoryBIOFactory)
    assert plain.buildProtocol(None) is None, "nobody is served before the relay is ready"
    assert isinstance(wrapped, TLSMemoryBIOFactory)


def test_many_connections_may_wait_to_be_accepted_unless_the_operator_says_otherwise() -> None:
    reactor = MemoryReactorClock()
    listeners(reactor, "tcp:3000", "tcp:3001:backlog=7").take_ports()
    assert [server[2] for server in reactor.tcpServers] == [512, 7]


@pytest.mark.parametrize(
    "text", ["tcp:3000:colour=red", "carrier-pigeon:3000", "ssl:3000:privateKey=/nowhere.pem"]
)
def test_what_is_no_endpoint_is_told_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match="is no endpoint to listen on") as caught:
        listeners(MemoryReactorClock(), text)
    assert "\n" not in caught.value.message


def test_a_relay_must_listen_somewhere() -> None:
    with pytest.raises(ConfigError, match="give it a port"):
        listeners(MemoryReactorClock())


def test_a_port_in_use_is_told_before_anything_else_happens() -> None:
    from twisted.internet import reactor

    with socket.create_server(("127.0.0.1", 0)) as other:
        text = f"tcp:{other.getsockname()[1]}:interface=127.0.0.1"
        with pytest.raises(LocalError, match=f"on {text}: Address already in use; does a relay"):
            listeners(reactor, text).take_ports()
