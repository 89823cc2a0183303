"""An audit over real sockets, of a real relay."""

from __future__ import annotations

from pathlib import Path

from securerelay.audit.caller import Caller, SocketWire
from securerelay.audit.run import Who, audit
from securerelay.identity.profile import Profile
from tests.end_to_end.daemon import running
from tests.end_to_end.people import enrol
from tests.relay.folders import copy_folder

CONFIGURATION = """
listen = ["tcp:0:interface=127.0.0.1"]

[limits]
penalty_acts_from_seconds = 600
first_byte_seconds = 3
handshake_seconds = 6
"""
"""Penalties act so late that nobody has to wait for them to fade."""


def test_a_real_relay_is_graded_by_a_peer_of_it(tmp_path: Path) -> None:
    (tmp_path / "relay.toml").write_text(CONFIGURATION)
    made = copy_folder(tmp_path / "made")
    with running(tmp_path, "--config", tmp_path / "relay.toml", like=made) as daemon:
        alice = enrol(daemon.data, tmp_path, "alice", "--key-bits", "2048")
        (folder,) = alice.profiles.iterdir()
        profile = Profile.open(folder)
        who = Who(profile.relay_id, profile.credential(), profile.peer)
        slept: list[float] = []
        caller = Caller(lambda: SocketWire("127.0.0.1", daemon.port), sleep=slept.append)
        verdict = audit(caller, who, slow=True)
        status = daemon.admin("status")
    assert verdict.stopped == ""
    worse = {one.check: one.reason for one in verdict.findings if one.grade != "A"}
    assert worse.keys() == {"certificate"}, worse
    assert "3072 are better" in worse["certificate"]
    assert slept, "it would have waited for the penalties of others"
    assert status["failures"]["auth-failed"] == 2
    assert status["failures"]["no-common-group"] == 4
