"""A relay, a client of it, and time that passes when a test says so."""

from __future__ import annotations

import os
import pathlib

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from securerelay.client.client import Client
from securerelay.client.journal import Journal
from securerelay.client.lane import InlineLane
from securerelay.client.peer import ProfileIdentity
from securerelay.identity.profile import Profile
from tests.client.relay import CA_KEY, NOW, PEER_KEY, Relay, date
from tests.keys import rsa_key
from tests.network import Network, outcome


class World:
    """One relay and one client, bob, joined by a network in memory."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.relay = Relay(self.clock)
        self.network = Network(self.relay.factory())
        self.profile = self.enrolled()
        self.client = self.new_client()

    def enrolled(self, ca: int = CA_KEY) -> Profile:
        relay = self.relay if ca == CA_KEY else Relay(self.clock, ca)
        invitation = relay.invite("bob")
        profile = Profile.join(self.folder / f"bob{ca}", invitation, key=rsa_key(index=PEER_KEY))
        der = relay.authority.issue_peer("bob", profile.enrolment().spki, date(NOW)).der
        profile.accept(der, ca_spki=relay.authority.spki, relay_name="relay", now=date(NOW))
        return profile

    def new_client(self, profile: Profile | None = None, durable: bool = False) -> Client:
        self.lane = InlineLane()
        folder = (profile or self.profile).path
        journal = Journal(folder, self.lane, self.clock, self.relay.now) if durable else None
        return Client(
            ProfileIdentity(profile or self.profile, now=self.relay.now),
            "bob",
            [("relay.example:3000", self.network)],
            self.clock,
            jitter=lambda: 0.0,
            now=self.relay.now,
            journal=journal,
        )

    def kill(self) -> None:
        """Have the client's process die: its sockets close and its locks go, and no more."""
        journal = self.client._journal
        if journal is not None and journal._owner is not None:
            os.close(journal._owner[1]._descriptor)
        self.lane.held = True
        self.network.factory = None
        if self.network.pumps:
            self.network.cut()
        self.client._link._service.stopService()
        self.run()
        for call in self.clock.getDelayedCalls():
            call.cancel()
        self.network.factory = self.relay.factory()

    def start(self) -> World:
        self.client.startService()
        self.run()
        assert self.client.is_connected
        return self

    def run(self, seconds: float = 0.0) -> None:
        """Let bytes flow and time pass, in steps as a busy reactor's."""
        left = seconds
        for _ in range(3):
            self.network.run()
            self.clock.advance(0)
        while left > 0:
            step = min(left, 0.5)
            self.clock.advance(step)
            self.network.run()
            self.clock.advance(0)
            self.network.run()
            left -= step

    def after(self, waiting: Deferred[object], seconds: float = 0.0) -> object:
        """Run, and tell what a Deferred came to."""
        self.run(seconds)
        return outcome(waiting)

    def close(self) -> None:
        closing = self.client.close()
        self.run(5)
        assert closing.called


@pytest.fixture
def world(tmp_path: pathlib.Path) -> World:
    """A client that has not been started."""
    return World(tmp_path)


@pytest.fixture
def durable(tmp_path: pathlib.Path) -> World:
    """A client that keeps its messages on disk; it has not been started."""
    world = World(tmp_path)
    world.client = world.new_client(durable=True)
    return world


@pytest.fixture
def connected(world: World) -> World:
    """A client that is connected."""
    return world.start()
