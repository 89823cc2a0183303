"""The administrator's verbs, against a relay that is not there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from securerelay.cli import invite
from tests.cli.conftest import FakeRelay, Run

URI = "securerelay://127.0.0.1:3000/alice#sr1i_aaaa"
INVITATION: dict[str, Any] = {
    "name": "alice",
    "uri": URI,
    "token": "0a" * 6,
    "expires": 1_800_000_000_000,
}


def test_inviting_prints_the_invitation_alone_on_standard_output(run: Run, relay: FakeRelay):
    relay.answers["invite"] = INVITATION
    ran = run("invite", "alice")
    assert (ran.status, ran.out) == (0, URI + "\n")
    assert "securerelay join" in ran.err
    assert relay.requests == [{"verb": "invite", "name": "alice"}]


def test_an_invitation_can_be_short_lived_and_for_another_address(run: Run, relay: FakeRelay):
    relay.answers["invite"] = INVITATION
    run("invite", "alice", "--expires", "1h", "--address", "relay.example:3000")
    assert relay.requests == [
        {"verb": "invite", "name": "alice", "expires": 3600, "address": "relay.example:3000"}
    ]


def test_programs_get_the_invitation_as_an_object(run: Run, relay: FakeRelay):
    relay.answers["invite"] = {**INVITATION, "note": "only for this machine"}
    ran = run("invite", "alice", "--json")
    assert ran.records == [INVITATION]
    assert ran.error == {"note": "only for this machine"}


def test_what_the_relay_remarks_is_passed_on(run: Run, relay: FakeRelay):
    relay.answers["invite"] = {**INVITATION, "note": "only for this machine"}
    assert "only for this machine" in run("invite", "alice").err


def test_an_invitation_can_be_shown_as_a_code_for_cameras(run: Run, relay: FakeRelay):
    relay.answers["invite"] = INVITATION
    ran = run("invite", "alice", "--qr")
    assert ran.out.startswith(URI + "\n")
    assert "█" in ran.out


def test_without_the_package_for_codes_nobody_is_invited(
    run: Run, relay: FakeRelay, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(__import__("sys").modules, "segno", None)
    ran = run("invite", "alice", "--qr")
    assert ran.status == 1
    assert "pip install 'securerelay[qr]'" in ran.err
    assert relay.requests == []


def test_a_reserved_name_is_refused_before_anybody_is_asked(run: Run, relay: FakeRelay):
    assert run("invite", "admin").status == 2
    assert relay.requests == []


def test_open_invitations_are_listed_with_the_token_to_withdraw_them(run: Run, relay: FakeRelay):
    row = {"token": "0a" * 6, "name": "alice", "state": "open", "expires": 1_800_000_000_000}
    relay.answers["invitations"] = {"invitations": [row, {**row, "state": "used", "name": "bob"}]}
    assert run("invitations", "--json").records == [row]
    assert [one["name"] for one in run("invitations", "--all", "--json").records] == [
        "alice",
        "bob",
    ]
    assert re.fullmatch(r"(0a){6}  alice +  open +  until 2027-.*\n", run("invitations").out)


def test_an_invitation_is_withdrawn(run: Run, relay: FakeRelay):
    ran = run("withdraw", "0a" * 6)
    assert (ran.status, ran.out) == (0, f"the invitation {'0a' * 6} is withdrawn\n")
    assert relay.requests == [{"verb": "withdraw", "token": "0a" * 6}]


def test_issued_certificates_are_listed(run: Run, relay: FakeRelay):
    row = {"name": "alice", "state": "active", "expires": 1_800_000_000_000, "sha256": "ff"}
    relay.answers["issued"] = {"issued": [row]}
    assert run("issued", "--json").records == [row]
    assert "alice" in run("issued", "--expiring", "7").out
    assert [one.get("expiring_days") for one in relay.requests] == [None, 7]


def test_revoking_tells_how_many_sessions_were_cut(run: Run, relay: FakeRelay):
    relay.answers["revoke"] = {"name": "bob", "sessions": 2}
    assert run("revoke", "bob").out == "bob is revoked; sessions cut: 2\n"
    assert run("revoke", "bob", "--json").records == [
        {"name": "bob", "revoked": True, "sessions": 2}
    ]


def test_the_relays_refusal_has_its_status_and_its_words(run: Run, relay: FakeRelay):
    relay.raw = b'{"ok": false, "code": "unknown", "message": "there is no peer bob\\u001b"}\n'
    ran = run("revoke", "bob")
    assert (ran.status, ran.err) == (5, "securerelay: there is no peer bob\\x1b\n")
    assert run("revoke", "bob", "--json").error["error"] == "unknown"


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (FileNotFoundError(2, "x"), 3, "no relay is running on "),
        (ConnectionRefusedError(111, "x"), 3, "no relay is running on "),
        (PermissionError(13, "x"), 1, "belongs to another user"),
        (TimeoutError(), 7, "does not answer"),
        (OSError("AF_UNIX path too long"), 3, "AF_UNIX path too long"),
    ],
)
def test_without_a_relay_there_is_one_clear_line(
    run: Run, relay: FakeRelay, error: OSError, status: int, says: str
):
    relay.error = error
    ran = run("issued")
    assert ran.status == status
    assert says in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("raw", [b"", b"\n", b"{}\n", b"[]\n", b"what\n", b'{"ok"'])
def test_what_is_no_answer_is_told_as_such(run: Run, relay: FakeRelay, raw: bytes):
    relay.raw = raw
    ran = run("issued")
    assert (ran.status, "gave no answer" in ran.err) == (3, True)


def test_the_data_folder_can_be_given_on_the_command_line(
    run: Run, relay: FakeRelay, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("SECURERELAY_DATA")
    relay.answers["issued"] = {"issued": []}
    assert run("issued", "--data", str(relay.folder)).status == 0
    assert run("--data", str(relay.folder), "issued").status == 0


def test_penalties_are_listed_with_the_seconds_that_are_left(run: Run, relay: FakeRelay):
    row = {"source": "192.0.2.1", "seconds": 17.5}
    relay.answers["penalties"] = {"lifted": 0, "penalties": [row]}
    assert run("penalties", "--json").records == [row]
    assert run("penalties").out.split() == ["192.0.2.1", "17.5", "s"]
    assert relay.requests == [{"verb": "penalties"}] * 2


def test_a_source_is_pardoned_or_all_are(run: Run, relay: FakeRelay):
    relay.answers["penalties"] = {"lifted": 1, "penalties": []}
    assert run("pardon", "192.0.2.1").out == "penalties lifted: 1\n"
    assert run("pardon", "--all", "--json").records == [{"source": None, "lifted": 1}]
    assert [one["lift"] for one in relay.requests] == ["192.0.2.1", "all"]
    assert run("pardon").status == run("pardon", "192.0.2.1", "--all").status == 2
    relay.answers["penalties"]["lifted"] = 0
    assert (run("pardon", "192.0.2.1").status, run("pardon", "--all").status) == (5, 0)


def test_alarms_are_listed_until_they_are_acknowledged(run: Run, relay: FakeRelay):
    token, time = "0a" * 6, 1_800_000_000_000
    row = {"token": token, "name": "alice", "used": time, "disputed": time}
    relay.answers["alarms"] = {"acknowledged": 1, "alarms": [row]}
    assert run("alarms", "--json").records == [row]
    assert re.fullmatch(r"(0a){6}  alice +  used 2027-.*, tried again 2027-.*\n", run("alarms").out)
    assert run("acknowledge", token).out == "alarms acknowledged: 1\n"
    assert run("acknowledge", "--all").status == 0
    assert [one.get("acknowledge") for one in relay.requests] == [None, None, token, "all"]
    assert run("acknowledge").status == run("acknowledge", token, "--all").status == 2


def test_status_shows_the_relay(run: Run, relay: FakeRelay):
    relay.answers["status"] = {"version": "1", "sessions": 3, "limits": {"a": 1}}
    (record,) = run("status", "--json").records
    assert record == {
        "relay": {
            "folder": str(relay.folder),
            "running": True,
            "version": "1",
            "sessions": 3,
            "limits": {"a": 1},
        },
        "profile": None,
    }
    out = run("status").out
    assert "  running: yes\n" in out
    assert "  limits: a 1\n" in out


def test_status_says_that_no_relay_runs_on_the_folder_and_fails(run: Run, relay: FakeRelay):
    relay.error = FileNotFoundError(2, "x")
    ran = run("status", "--json")
    assert ran.status == 3
    assert ran.records[0]["relay"] == {"folder": str(relay.folder), "running": False}


def test_status_without_relay_and_profile_says_so(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "nothing"))
    ran = run("status")
    assert ran.status == 1
    assert "there is no relay in" in ran.err


def test_the_module_for_codes_is_asked_for_only_when_wanted():
    assert "segno" not in vars(invite)
