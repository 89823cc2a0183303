"""How a program gets a client of a profile."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint
from twisted.internet.testing import MemoryReactorClock

from securerelay.client import connect, service
from securerelay.client.peer import endpoints
from securerelay.errors import ConnectError, ProfileError, WrongPassphrase
from tests.network import outcome


def test_a_service_connects_through_the_endpoint_it_is_given(world):
    client = service(world.profile, endpoint=world.network, reactor=world.clock, durable=False)
    assert client.peer == "bob"
    client.startService()
    assert len(world.network.pumps) == 1
    client.stopService()
    world.run(5)


def test_a_profile_is_found_by_its_folder_and_by_its_name(world, monkeypatch, tmp_path):
    path = world.profile.path
    assert service(path, endpoint=world.network, reactor=world.clock, durable=False).peer == "bob"
    assert (
        service(str(path), endpoint=world.network, reactor=world.clock, durable=False).peer == "bob"
    )
    with pytest.raises(ProfileError):
        service("nobody", endpoint=world.network, reactor=world.clock, durable=False)


def test_a_wrong_passphrase_is_told_before_anything_is_tried(world):
    world.profile.change_passphrase(None, b"correct horse")
    with pytest.raises(WrongPassphrase):
        service(world.profile.path, passphrase=b"wrong", reactor=world.clock)
    right = service(
        world.profile.path,
        passphrase=b"correct horse",
        endpoint=world.network,
        durable=False,
        reactor=world.clock,
    )
    assert right.peer == "bob"


def test_connecting_in_vain_leaves_nothing_running(world):
    world.network.factory = None
    connecting = Deferred.fromCoroutine(
        connect(world.profile, endpoint=world.network, reactor=world.clock, durable=False)
    )
    assert isinstance(world.after(connecting, 1), ConnectError)
    assert not world.clock.getDelayedCalls()


def test_connecting_ends_in_time(world):
    from twisted.internet.protocol import Factory, Protocol

    world.network.factory = Factory.forProtocol(Protocol)
    connecting = Deferred.fromCoroutine(
        connect(
            world.profile, endpoint=world.network, reactor=world.clock, durable=False, timeout=3
        )
    )
    failed = world.after(connecting, 4)
    assert isinstance(failed, ConnectError)
    assert "3 seconds" in failed.message
    world.run(5)
    assert not world.clock.getDelayedCalls()


def test_addresses_and_endpoint_strings_lead_where_they_say():
    reactor = MemoryReactorClock()
    both = endpoints([("::1", 3000), ("relay.example", 4000)], None, reactor)
    assert [where for where, _ in both] == ["[::1]:3000", "relay.example:4000"]
    assert all(isinstance(endpoint, HostnameEndpoint) for _, endpoint in both)
    ((where, endpoint),) = endpoints([("x", 1)], "tcp:localhost:3000", reactor)
    assert where == "tcp:localhost:3000"
    assert isinstance(endpoint, TCP4ClientEndpoint | HostnameEndpoint)


def test_the_key_stays_out_of_what_is_printed(world):
    client = service(world.profile, endpoint=world.network, reactor=world.clock, durable=False)
    assert "PRIVATE" not in repr(client.__dict__)
    assert outcome(client.close()) is None
