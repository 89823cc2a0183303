"""``securerelay audit``: what it takes, and how a verdict is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from securerelay.audit import run as running
from securerelay.audit.caller import Caller
from securerelay.audit.run import Who
from securerelay.audit.verdict import Verdict
from securerelay.identity.invitation import Invitation
from tests.cli.conftest import Run

ID = bytes(range(32))


class Auditor:
    """Answers with a verdict that is given, and notes what it was asked."""

    def __init__(self) -> None:
        self.verdict = Verdict()
        self.asked: list[tuple[Who, bool]] = []

    def audit(self, caller: Caller, who: Who, *, slow: bool, **_: Any) -> Verdict:
        self.asked.append((who, slow))
        return self.verdict


@pytest.fixture
def auditor(monkeypatch: pytest.MonkeyPatch) -> Auditor:
    made = Auditor()
    monkeypatch.setattr(running, "audit", made.audit)
    return made


@pytest.mark.parametrize(
    ("grades", "verdict", "status"),
    [
        ("AA", "A", 0),
        ("ABA", "B", 0),
        ("ACB", "C", 10),
        ("D", "D", 10),
        ("AFC", "F", 11),
        ("-A", "A", 0),
    ],
)
def test_the_worst_grade_is_the_verdict_and_the_status(
    run: Run, auditor: Auditor, grades: str, verdict: str, status: int
):
    for grade in grades:
        auditor.verdict.add("groups", grade, "because")
    ran = run("audit", "localhost:3000", "--json")
    assert ran.status == status
    *findings, last = ran.records
    assert [one["grade"] for one in findings] == list(grades)
    assert last == {
        "address": "localhost:3000",
        "verdict": verdict,
        "connections": 0,
        "stopped": None,
    }


def test_what_the_relay_said_is_escaped(run: Run, auditor: Auditor):
    auditor.verdict.add("silence", "F", "it says \x1b[31m")
    out = run("audit", "localhost:3000").out
    assert out.startswith("F  silence       it says \\x1b[31m\nF  in all: localhost:3000, 0 ")


def test_an_audit_that_was_cut_short_says_so_and_fails(run: Run, auditor: Auditor):
    auditor.verdict.add("groups", "A", "fine")
    auditor.verdict.stopped = "this address is under a penalty"
    ran = run("audit", "localhost:3000")
    assert ran.status == 3
    assert "under a penalty" in ran.err
    assert "A  groups" in ran.out


def test_the_relay_id_comes_from_an_option_or_an_invitation(
    run: Run, auditor: Auditor, tmp_path: Path
):
    path = tmp_path / "invitation"
    path.write_text(Invitation.create(ID, "relay.example", 3000, "alice", 1 << 33).uri() + "\n")
    for options in (
        (),
        ("--relay-id", ID.hex(), "--slow"),
        ("--invitation", str(path)),
        ("--invitation", str(path), "--relay-id", ID.hex()),
    ):
        assert run("audit", "localhost:3000", *options).status == 3  # nothing was graded
    assert [(who.relay_id, slow) for who, slow in auditor.asked] == [
        (None, False),
        (ID, True),
        (ID, False),
        (ID, False),
    ]


@pytest.mark.parametrize(
    "words",
    [
        ("localhost",),
        ("localhost:70000",),
        ("localhost:3000", "--relay-id", "00"),
        ("localhost:3000", "--relay-id", "x" * 64),
    ],
)
def test_what_cannot_be_audited_is_a_matter_of_usage(run: Run, auditor: Auditor, words: Any):
    assert run("audit", *words).status == 2
    assert auditor.asked == []


def test_an_invitation_of_another_relay_than_the_one_expected_is_refused(
    run: Run, auditor: Auditor, tmp_path: Path
):
    path = tmp_path / "invitation"
    path.write_text(Invitation.create(ID, "relay.example", 3000, "alice", 1 << 33).uri())
    ran = run("audit", "localhost:3000", "--invitation", str(path), "--relay-id", "00" * 32)
    assert (ran.status, auditor.asked) == (2, [])
    assert "different relays" in ran.err


def test_where_nobody_listens_there_is_one_line(run: Run):
    ran = run("audit", "127.0.0.1:1", "--relay-id", ID.hex())
    assert ran.status == 3
    assert ran.err.splitlines()[-1].startswith("securerelay: cannot connect to 127.0.0.1 port 1")
