"""Profiles of people who know each other, on disk, without a relay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from securerelay.client.sealing.trust import Trust
from securerelay.client.sealing.vault import Contact, Vault
from securerelay.client.state import State
from securerelay.identity.invitation import Invitation
from securerelay.identity.profile import Profile
from securerelay.sealing.fingerprint import Identity
from securerelay.sealing.pins import Level, Pin
from tests.keys import NOW, authority, rsa_key, spki

MS = int(NOW.timestamp() * 1000)
PEOPLE = ("alice", "bob", "carol")


def home(folder: Path, name: str) -> Profile:
    """Make the profile of somebody."""
    index = PEOPLE.index(name)
    expiry = int(NOW.timestamp()) + 3600
    invitation = Invitation.create(authority().relay_id, "relay.example", 3000, name, expiry)
    made = Profile.join(folder / name, invitation, key=rsa_key(index=index))
    certificate = authority().issue_peer(name, spki(index=index), NOW).der
    made.accept(certificate, ca_spki=authority().spki, relay_name="hub", now=NOW)
    return made


def identity(profile: Profile) -> Identity:
    profile.key()
    with Trust(profile) as trust:
        return trust.identity


def introduce(profile: Profile, other: Identity, blocked: Identity | None = None) -> None:
    """Have somebody pinned at first sight, and perhaps another key offered since."""
    pin = Pin(other, Level.SEEN, MS, (), blocked)
    profile.key()
    vault = Vault(profile.relay_id, profile.sealing_keys().data_key)
    state = State(profile.path)
    state.run([lambda state: vault.save_contact(state, Contact(pin, None, 0, MS))])
    state.close()


def another(identity: Identity) -> Identity:
    """The one whom a relay that was taken over shows in somebody's place."""
    return replace(identity, spki=spki(index=9), message_key=bytes(32))


@pytest.fixture
def alice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Profile:
    """Alice, whose profile is the one that commands use; she has met Bob."""
    monkeypatch.setenv("SECURERELAY_PROFILE", str(tmp_path / "alice"))
    made = home(tmp_path, "alice")
    introduce(made, identity(home(tmp_path, "bob")))
    return made
