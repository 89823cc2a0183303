"""What somebody sees who joins a relay by an invitation."""

from __future__ import annotations

import pathlib

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from securerelay.client.enrol import ATTEMPTS, enrol, enrol_at
from securerelay.crypto.primitives import spki
from securerelay.errors import AuthenticationFailed, ConnectError, Refused, TimedOut
from securerelay.identity.invitation import Invitation
from securerelay.identity.profile import Profile
from tests.client.relay import OTHER_CA_KEY, PEER_KEY, STRANGER_KEY, Relay, authority, date
from tests.keys import rsa_key
from tests.network import Network, outcome


class Newcomer:
    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.relay = Relay(self.clock)
        self.network = Network(self.relay.factory())
        self.invitation = self.relay.invite("bob")

    def profile(self, invitation: Invitation | None = None, key: int = PEER_KEY) -> Profile:
        folder = self.folder / f"profile{key}"
        return Profile.join(folder, invitation or self.invitation, key=rsa_key(index=key))

    def join(self, profile: Profile, seconds: int = 0) -> object:
        joining = Deferred.fromCoroutine(
            enrol_at(profile, "relay.example:3000", self.network, self.clock, now=self.relay.now)
        )
        self.network.run()
        for _ in range(seconds):
            self.clock.advance(1)
            self.network.run()
        return outcome(joining)


@pytest.fixture
def newcomer(tmp_path):
    return Newcomer(tmp_path)


def test_an_invitation_becomes_a_certificate_on_disk(newcomer):
    assert newcomer.join(newcomer.profile()) is None
    stored = Profile.open(newcomer.folder / f"profile{PEER_KEY}")
    assert stored.enrolled
    assert stored.peer.name == "bob"
    assert stored.relay_name == "relay"
    assert stored.invitation is None


def test_a_reply_lost_after_the_relay_had_decided_is_had_again(newcomer):
    newcomer.relay.lose_certificate = 2
    profile = newcomer.profile()
    newcomer.join(profile, seconds=10)
    assert profile.enrolled
    assert len(newcomer.relay.issued) == 1


def test_a_relay_that_breaks_every_time_is_an_error_and_the_next_try_completes_it(newcomer):
    newcomer.relay.lose_certificate = ATTEMPTS
    assert isinstance(newcomer.join(newcomer.profile(), seconds=30), ConnectError)
    again = Profile.join(newcomer.folder / f"profile{PEER_KEY}", newcomer.invitation)
    newcomer.join(again)
    assert again.enrolled


def test_an_invitation_that_somebody_else_used_says_so(newcomer):
    newcomer.join(newcomer.profile(key=STRANGER_KEY))
    refused = newcomer.join(newcomer.profile())
    assert isinstance(refused, Refused)
    assert refused.code == "token-used"
    assert "with another key" in refused.detail


def test_an_invitation_of_another_relay_says_so(newcomer):
    other = Relay(newcomer.clock, OTHER_CA_KEY).invite("bob")
    failed = newcomer.join(newcomer.profile(other))
    assert isinstance(failed, AuthenticationFailed)
    assert "not the relay that this invitation is for" in failed.detail


def test_a_withdrawn_invitation_says_so(newcomer):
    newcomer.relay.invitations.clear()
    failed = newcomer.join(newcomer.profile())
    assert isinstance(failed, AuthenticationFailed)
    assert "withdrawn" in failed.detail


def test_an_expired_invitation_says_so(newcomer):
    newcomer.relay.refusal = "expired"
    failed = newcomer.join(newcomer.profile())
    assert isinstance(failed, AuthenticationFailed)
    assert "expired" in failed.detail


def test_nobody_at_the_address_is_a_connection_error(newcomer):
    newcomer.network.factory = None
    assert isinstance(newcomer.join(newcomer.profile()), ConnectError)


class Thread:
    """A pool of threads that does everything at once."""

    def callInThreadWithCallback(self, tell, work, *args, **named):
        tell(True, work(*args, **named))


class Reactor(Clock):
    def getThreadPool(self):
        return Thread()

    def callFromThread(self, call, *args):
        call(*args)


def test_a_relay_that_never_answers_is_an_error_in_time_and_leaves_no_connection(newcomer):
    newcomer.relay.silent = True
    reactor = Reactor()
    joining = Deferred.fromCoroutine(
        enrol(
            newcomer.invitation,
            newcomer.folder / "bob",
            key=rsa_key(index=PEER_KEY),
            endpoint=newcomer.network,
            timeout=5,
            reactor=reactor,
        )
    )
    newcomer.network.run()
    reactor.advance(5)
    assert isinstance(outcome(joining), TimedOut)
    newcomer.network.run()
    assert newcomer.relay.sessions == []
    assert not reactor.getDelayedCalls()
    assert Profile.open(newcomer.folder / "bob").invitation is not None, "to try again"


@pytest.mark.parametrize("wrong", ["name", "key", "role", "authority"])
def test_a_certificate_that_is_not_ours_is_not_kept(newcomer, wrong):
    own, other = newcomer.relay.authority, authority(OTHER_CA_KEY)
    stranger = spki(rsa_key(index=STRANGER_KEY).public_key())
    now = date(newcomer.relay.now())
    newcomer.relay.issue = {
        "name": lambda name, key: own.issue_peer("mallory", key, now).der,
        "key": lambda name, key: own.issue_peer(name, stranger, now).der,
        "role": lambda name, key: own.issue_relay(name, key, now).der,
        "authority": lambda name, key: other.issue_peer(name, key, now).der,
    }[wrong]
    profile = newcomer.profile()
    failed = newcomer.join(profile, seconds=10)
    assert isinstance(failed, AuthenticationFailed)
    assert not Profile.open(profile.path).enrolled
