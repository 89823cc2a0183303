"""A profile is carried to another machine in one encrypted file."""

from __future__ import annotations

from pathlib import Path

import pytest

from securerelay.identity import container
from securerelay.identity.invitation import Invitation
from securerelay.identity.profile import Profile
from tests.cli.conftest import Run
from tests.keys import NOW, authority, rsa_key, spki


@pytest.fixture
def secret(tmp_path: Path) -> str:
    path = tmp_path / "passphrase"
    path.write_text("of the file\n")
    path.chmod(0o600)
    return str(path)


@pytest.fixture
def alice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Alice's profile, the only one there is."""
    monkeypatch.setattr(container, "DEFAULT_COST", container.Cost(memory=64, passes=1, lanes=1))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    expiry = int(NOW.timestamp()) + 3600
    invitation = Invitation.create(authority().relay_id, "relay.example", 3000, "alice", expiry)
    path = tmp_path / "config/securerelay/alice"
    made = Profile.join(path, invitation, key=rsa_key())
    certificate = authority().issue_peer("alice", spki(), NOW).der
    made.accept(certificate, ca_spki=authority().spki, relay_name="hub", now=NOW)
    return path


def test_a_profile_moves_to_another_machine(
    run: Run, alice: Path, secret: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = str(tmp_path / "alice.profile")
    ran = run("profile", "export", file, "--passphrase-file", secret)
    assert ran.status == 0
    assert f"securerelay profile import {file}" in ran.out
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "elsewhere"))
    ran = run("profile", "import", file, "--passphrase-file", secret)
    assert ran.status == 0
    assert "do not use the old profile beside it" in ran.err
    assert Profile.open(tmp_path / "elsewhere/securerelay/alice").name == "alice"


def test_programs_learn_where_it_is(run: Run, alice: Path, secret: str, tmp_path: Path):
    file = str(tmp_path / "alice.profile")
    ran = run("profile", "export", file, "--passphrase-file", secret, "--json")
    assert ran.records == [{"file": file, "profile": str(alice)}]
    other = str(tmp_path / "other")
    ran = run("profile", "import", file, "--passphrase-file", secret, "--profile", other, "--json")
    assert ran.records == [
        {"name": "alice", "relay_id": authority().relay_id.hex(), "profile": other}
    ]


def test_a_profile_that_is_there_stays(run: Run, alice: Path, secret: str, tmp_path: Path):
    file = str(tmp_path / "alice.profile")
    run("profile", "export", file, "--passphrase-file", secret)
    ran = run("profile", "import", file, "--passphrase-file", secret, "--json")
    assert (ran.status, ran.error["error"]) == (1, "profile")
    assert "--profile" in ran.error["message"]


def test_a_wrong_passphrase_has_its_own_status(run: Run, alice: Path, secret: str, tmp_path: Path):
    file = str(tmp_path / "alice.profile")
    run("profile", "export", file, "--passphrase-file", secret)
    Path(secret).write_text("guess")
    ran = run("profile", "import", file, "--passphrase-file", secret, "--profile", "./bob")
    assert ran.status == 4


def test_nobody_is_asked_for_a_passphrase_who_wants_json(run: Run, alice: Path, tmp_path: Path):
    ran = run("profile", "export", str(tmp_path / "file"), "--json")
    assert (ran.status, ran.error["error"]) == (4, "wrong-passphrase")
    assert "--passphrase-file" in ran.error["message"]
