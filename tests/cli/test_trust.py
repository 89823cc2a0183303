"""Contacts are listed, compared, and given another key when their user says so."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click
import pytest

from securerelay.cli import profiles, verify
from securerelay.client.sealing import ended
from securerelay.client.sealing.trust import Trust
from securerelay.client.state import State
from securerelay.errors import LocalError
from securerelay.identity.keylog import Kind, Leaf
from securerelay.identity.profile import Profile
from securerelay.sealing.fingerprint import qr_text, safety_number
from tests.cli import homes
from tests.cli.conftest import Run
from tests.cli.homes import alice, another, identity, introduce
from tests.cli.test_keys import Terminal

__all__ = ["alice"]


@pytest.fixture
def bob(alice: Profile, tmp_path: Path) -> Profile:
    return Profile.open(tmp_path / "bob")


@pytest.fixture
def stranger(alice: Profile, bob: Profile) -> None:
    """The relay shows another key for Bob."""
    introduce(alice, identity(bob), another(identity(bob)))


def test_contacts_tell_level_and_a_short_fingerprint(run: Run, bob: Profile):
    fp = identity(bob).fp.hex()
    (line,) = run("contacts").out.splitlines()
    assert line.split()[:3] == ["bob", "seen", "since"]
    assert line.endswith(f"{fp[:4]} {fp[4:8]} {fp[8:12]} {fp[12:16]}")
    (record,) = run("contacts", "--json").records
    said = {"name": "bob", "level": "seen", "since": homes.MS, "fingerprint": fp}
    assert record == {**said, "blocked": None, "ended": None}


@pytest.mark.parametrize(("kind", "mark"), [(Kind.REVOKED, "REVOKED"), (Kind.CLOSED, "CLOSED")])
def test_a_contact_whose_name_ended_is_shown_as_such(
    run: Run, alice: Profile, kind: Kind, mark: str
):
    with contextlib.closing(State(alice.path)) as state:
        leaf = Leaf(kind, homes.MS, "bob", bytes(32), bytes(32))
        state.run([lambda state: ended.note(state, [leaf])])
    assert f"{mark}: this name has ended" in run("contacts").out
    (record,) = run("contacts", "--json").records
    assert record["ended"] == f"peer-{mark.lower()}"
    refused = run("trust", "bob", "--accept-new-key")
    assert refused.status != 0
    assert "key log says" in refused.err


@pytest.mark.usefixtures("stranger")
def test_a_contact_whose_key_changed_is_shown_as_blocked(run: Run, bob: Profile):
    assert "BLOCKED" in run("contacts").out
    (record,) = run("contacts", "--json").records
    assert record["blocked"] == another(identity(bob)).fp.hex()


def test_a_profile_that_knows_nobody_lists_nobody(run: Run, tmp_path: Path):
    homes.home(tmp_path, "carol")
    ran = run("contacts", "--profile", str(tmp_path / "carol"))
    assert (ran.status, ran.out) == (0, "")


def test_both_see_the_same_sixty_digits(run: Run, alice: Profile, bob: Profile):
    introduce(bob, identity(alice))
    mine = run("verify", "bob", "--json").records[0]["number"]
    theirs = run("verify", "alice", "--profile", str(bob.path), "--json").records[0]["number"]
    assert mine == theirs == safety_number(identity(alice).fp, identity(bob).fp)
    assert [len(group) for group in mine.split()] == [5] * 12


def test_looking_at_the_number_notes_nothing(run: Run, bob: Profile):
    ran = run("verify", "bob")
    digits = "".join(line for line in ran.out.splitlines() if line.startswith("    "))
    assert len(digits.split()) == 12
    assert "securerelay verify bob --yes" in ran.err
    assert run("contacts", "--json").records[0]["level"] == "seen"


def test_who_has_compared_says_so(run: Run, bob: Profile):
    ran = run("verify", "bob", "--yes")
    assert ran.out.endswith("bob is verified\n")
    (record,) = run("contacts", "--json").records
    assert record["level"] == "verified"
    assert record["since"] not in (None, homes.MS)


@pytest.mark.parametrize(("answer", "status", "level"), [(True, 0, "verified"), (False, 9, "seen")])
def test_whoever_sits_there_is_asked(
    run: Run, bob: Profile, monkeypatch: pytest.MonkeyPatch, answer, status: int, level: str
):
    questions: list[str] = []
    monkeypatch.setattr(verify.sys, "stdin", Terminal())
    monkeypatch.setattr(
        click, "confirm", lambda question, **options: (questions.append(question), answer)[1]
    )
    ran = run("verify", "bob")
    assert (ran.status, questions) == (status, ["Do they match what bob sees?"])
    assert run("contacts", "--json").records[0]["level"] == level
    assert ("tell the administrator" in ran.err) == (not answer)


def test_a_scanned_code_is_compared_whole(run: Run, alice: Profile, bob: Profile):
    code = qr_text(identity(bob).fp, identity(alice).fp)
    for wrong in (
        code[:-1],
        code + "A",
        qr_text(identity(alice).fp, identity(bob).fp),
        qr_text(another(identity(bob)).fp, identity(alice).fp),
        "hello",
    ):
        ran = run("verify", "bob", "--scanned", wrong, "--json")
        assert (ran.status, ran.error["error"]) == (9, "not-verified")
        assert run("contacts", "--json").records[0]["level"] == "seen"
    assert run("verify", "bob", "--scanned", code).out == "bob is verified\n"


def test_the_code_that_is_shown_is_the_one_that_the_other_scans(
    run: Run, alice: Profile, bob: Profile
):
    introduce(bob, identity(alice))
    shown = run("verify", "alice", "--profile", str(bob.path), "--json").records[0]["code"]
    assert run("verify", "bob", "--scanned", shown).status == 0


def test_a_code_for_cameras_is_drawn_on_demand(run: Run, bob: Profile):
    pytest.importorskip("segno")
    plain, drawn = run("verify", "bob").out, run("verify", "bob", "--qr").out
    assert drawn.startswith(plain)
    assert len(drawn.splitlines()) > len(plain.splitlines()) + 15


def test_one_cannot_have_compared_in_two_ways(run: Run, bob: Profile):
    assert run("verify", "bob", "--yes", "--scanned", "x").status == 2


def test_who_is_unknown_cannot_be_trusted(run: Run, bob: Profile):
    ran = run("trust", "carol", "--accept-new-key", "--json")
    assert (ran.status, ran.error["error"]) == (5, "unknown")


def test_the_relay_is_asked_for_the_keys_of_somebody_unknown(
    run: Run, alice: Profile, bob: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    carol = identity(homes.home(tmp_path, "carol"))

    def asks(access: object, work: object) -> None:
        introduce(alice, carol)

    monkeypatch.setattr(profiles.Access, "run", asks)
    (record,) = run("verify", "carol", "--json").records
    assert record["number"] == safety_number(identity(alice).fp, carol.fp)
    monkeypatch.setattr(profiles.Access, "run", lambda access, work: None)
    ran = run("verify", "dora", "--json")
    assert (ran.status, ran.error["error"]) == (5, "unknown")


@pytest.mark.usefixtures("stranger")
def test_comparing_with_a_blocked_contact_is_about_the_new_key(
    run: Run, alice: Profile, bob: Profile
):
    new = another(identity(bob))
    ran = run("verify", "bob")
    assert "bob's key changed" in ran.err
    number = safety_number(identity(alice).fp, new.fp)
    assert "".join(ran.out.split()[-12:]) == number.replace(" ", "")
    run("verify", "bob", "--yes")
    (record,) = run("contacts", "--json").records
    assert (record["level"], record["blocked"]) == ("verified", None)
    assert record["fingerprint"] == new.fp.hex()


@pytest.mark.usefixtures("stranger")
def test_a_new_key_is_taken_when_its_user_says_so(run: Run, bob: Profile):
    ran = run("trust", "bob", "--accept-new-key")
    assert ran.out == "bob's new key is accepted, and not compared yet\n"
    assert "securerelay verify bob" in ran.err
    (record,) = run("contacts", "--json").records
    assert (record["level"], record["blocked"]) == ("seen", None)
    assert record["fingerprint"] == another(identity(bob)).fp.hex()


@pytest.mark.usefixtures("stranger")
def test_nothing_is_accepted_by_accident(run: Run):
    assert run("trust", "bob").status == 2
    assert run("contacts", "--json").records[0]["blocked"]


def test_where_nothing_is_blocked_nothing_can_be_accepted(run: Run, bob: Profile):
    ran = run("trust", "bob", "--accept-new-key")
    assert ran.status == 1
    assert "nothing is blocked" in ran.err


def test_a_key_that_changed_while_it_was_compared_is_not_verified(alice: Profile, bob: Profile):
    alice.key()
    with Trust(alice) as trust:
        compared = trust.contact("bob").pin.identity
        introduce(alice, another(identity(bob)))
        with pytest.raises(LocalError, match="compare again"):
            trust.verify(compared)
        assert trust.contact("bob").pin.level.value == "seen"
