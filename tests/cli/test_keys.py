"""Keys on disk: made, shown, protected; and joining as far as it goes without a relay."""

from __future__ import annotations

import io
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from securerelay.cli import passphrases
from securerelay.cli import run as runner
from securerelay.crypto import primitives
from securerelay.errors import AuthenticationFailed, ConnectError, Refused, SecureRelayError
from securerelay.identity import keyfile
from securerelay.identity.invitation import Invitation
from securerelay.identity.profile import Profile
from tests.cli.conftest import Run
from tests.keys import rsa_key

SHA256 = primitives.sha256(primitives.spki(rsa_key().public_key())).hex()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are made beforehand."""
    monkeypatch.setattr(keyfile, "generate_key", lambda bits=3072: rsa_key())


@pytest.fixture
def secret(tmp_path: Path) -> Callable[[str], str]:
    """Write a passphrase to a private file."""

    def secret(text: str) -> str:
        path = tmp_path / f"passphrase-{text}"
        path.write_text(text + "\n")
        path.chmod(0o600)
        return str(path)

    return secret


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Have somebody at the terminal who types answers; the questions are returned."""

    def type_in(*answers: str) -> list[str]:
        left, questions = list(answers), []

        def prompt(question: str, **options: Any) -> str:
            assert options["hide_input"]
            questions.append(question)
            return left.pop(0)

        monkeypatch.setattr(passphrases.sys, "stdin", Terminal())
        monkeypatch.setattr(click, "prompt", prompt)
        return questions

    return type_in


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_key_is_made_for_its_owner_alone(run: Run, tmp_path: Path):
    path = tmp_path / "key.pem"
    ran = run("keys", "generate", str(path), "--json")
    assert ran.records == [{"file": str(path), "bits": 2048, "sha256": SHA256, "protected": False}]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert keyfile.load_key(path).key_size == 2048


def test_the_size_of_a_key_can_be_chosen(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    sizes: list[int] = []
    monkeypatch.setattr(keyfile, "generate_key", lambda bits: (sizes.append(bits), rsa_key())[1])
    run("keys", "generate", str(tmp_path / "a"), "--bits", "4096")
    run("keys", "generate", str(tmp_path / "b"))
    assert sizes == [4096, 3072]


def test_a_key_never_takes_the_place_of_another_file(run: Run, tmp_path: Path):
    path = tmp_path / "key.pem"
    path.write_text("precious")
    ran = run("keys", "generate", str(path))
    assert (ran.status, path.read_text()) == (1, "precious")
    assert "exists already" in ran.err


def test_a_folder_that_is_not_there_is_one_clear_line(run: Run):
    ran = run("keys", "generate", "/no/where/key.pem")
    assert ran.status == 1
    assert ran.err.count("\n") == 1
    assert "/no/where" in ran.err


def test_a_key_under_a_passphrase_opens_with_it_alone(
    run: Run, tmp_path: Path, secret: Callable[[str], str]
):
    path = str(tmp_path / "key.pem")
    assert run("keys", "generate", path, "--passphrase-file", secret("right")).status == 0
    assert b"PRIVATE KEY" not in Path(path).read_bytes().replace(b"SECURERELAY PRIVATE KEY", b"")
    shown = run("keys", "show", path, "--passphrase-file", secret("right"), "--json")
    assert shown.records[0]["protected"] is True
    wrong = run("keys", "show", path, "--passphrase-file", secret("wrong"))
    assert (wrong.status, wrong.out) == (4, "")
    assert "the passphrase is wrong" in wrong.err
    assert wrong.err.count("\n") == 1


def test_programs_are_never_asked_for_a_passphrase(
    run: Run, tmp_path: Path, secret: Callable[[str], str], type_in: Callable[..., list[str]]
):
    path = str(tmp_path / "key.pem")
    run("keys", "generate", path, "--passphrase-file", secret("right"))
    ran = run("keys", "show", path)
    assert (ran.status, "--passphrase-file" in ran.err) == (4, True)
    questions = type_in("right")
    assert run("keys", "show", path, "--json").status == 4
    assert questions == []
    assert run("keys", "show", path).status == 0
    assert len(questions) == 1


def test_a_passphrase_may_come_from_the_environment_or_a_credential(
    run: Run,
    tmp_path: Path,
    secret: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
):
    path = str(tmp_path / "key.pem")
    run("keys", "generate", path, "--passphrase-file", secret("right"))
    monkeypatch.setenv("SECURERELAY_PASSPHRASE", "right")
    assert run("keys", "show", path).status == 0
    monkeypatch.setenv("SECURERELAY_PASSPHRASE_FILE", secret("wrong"))
    assert run("keys", "show", path).status == 4
    monkeypatch.delenv("SECURERELAY_PASSPHRASE_FILE")
    monkeypatch.delenv("SECURERELAY_PASSPHRASE")
    (tmp_path / "securerelay-passphrase").write_text("right")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert run("keys", "show", path).status == 0


def test_a_new_passphrase_is_typed_twice(
    run: Run, tmp_path: Path, type_in: Callable[..., list[str]]
):
    type_in("one", "two")
    ran = run("keys", "generate", str(tmp_path / "key.pem"), "--passphrase")
    assert (ran.status, "differ" in ran.err) == (1, True)
    type_in("one", "one")
    assert run("keys", "generate", str(tmp_path / "key.pem"), "--passphrase").status == 0


# -- profiles


def invitation(expiry: float | None = None) -> Invitation:
    at = int(time.time() + 3600 if expiry is None else expiry)
    return Invitation.create(bytes(32), "127.0.0.1", 3000, "alice", at)


def folder() -> Path:
    return Path(os.environ["XDG_CONFIG_HOME"]) / "securerelay" / "alice"


@pytest.fixture
def profile() -> Profile:
    """One that still waits for its certificate."""
    return Profile.join(folder(), invitation(), key=rsa_key())


def test_the_key_of_a_profile_is_shown(run: Run, profile: Profile):
    (record,) = run("keys", "show", "--json").records
    assert record == {
        "file": str(folder() / "key.pem"),
        "bits": 2048,
        "sha256": SHA256,
        "protected": False,
    }


def test_the_passphrase_of_a_profile_is_set_changed_and_removed(
    run: Run, profile: Profile, secret: Callable[[str], str], type_in: Callable[..., list[str]]
):
    assert run("keys", "passwd", "--new-passphrase-file", secret("one")).status == 0
    assert profile.protected()
    assert run("keys", "passwd", "--passphrase-file", secret("wrong"), "--remove").status == 4
    assert profile.protected()
    type_in("one", "two", "two")
    assert run("keys", "passwd").out == "alice's key is under the new passphrase\n"
    assert run("keys", "passwd", "--passphrase-file", secret("one"), "--remove").status == 4
    removed = run("keys", "passwd", "--passphrase-file", secret("two"), "--remove", "--json")
    assert removed.records == [{"name": "alice", "protected": False}]
    assert not profile.protected()


def test_a_wrong_passphrase_is_told_before_a_new_one_is_asked_for(
    run: Run, profile: Profile, secret: Callable[[str], str], type_in: Callable[..., list[str]]
):
    run("keys", "passwd", "--new-passphrase-file", secret("one"))
    questions = type_in("wrong")
    assert run("keys", "passwd").status == 4
    assert len(questions) == 1


def test_passwd_does_one_thing_at_a_time(run: Run, profile: Profile, secret: Callable[[str], str]):
    ran = run("keys", "passwd", "--remove", "--new-passphrase-file", secret("x"))
    assert ran.status == 2


def test_without_a_profile_the_way_to_one_is_told(run: Run):
    ran = run("keys", "passwd")
    assert (ran.status, "join" in ran.err) == (1, True)
    assert run("send", "bob", "x", "--json").error["error"] == "profile"
    assert run("send", "bob", "x", "--profile", "nobody").status == 1


def test_status_shows_a_profile_that_still_waits(run: Run, profile: Profile):
    (record,) = run("status", "--json", "--profile", "alice").records
    assert record["profile"]["enrolled"] is False
    assert record["profile"]["name"] == "alice"
    assert record["profile"]["expires"] is None


# -- join, as far as it goes without a relay


@pytest.fixture
def relay_says(monkeypatch: pytest.MonkeyPatch) -> Callable[[SecureRelayError], None]:
    """Have enrolment end with an error after the profile was made."""

    def relay_says(error: SecureRelayError) -> None:
        def fail(work: Any) -> None:
            coroutine = work(None)
            coroutine.close()
            if not folder().exists():
                Profile.join(folder(), invitation(), key=rsa_key())
            raise error

        monkeypatch.setattr(runner, "run", fail)

    return relay_says


@pytest.mark.parametrize(
    "error", [Refused("token-used"), Refused("expired"), AuthenticationFailed("auth-failed")]
)
def test_an_invitation_that_the_relay_refuses_leaves_nothing_on_disk(
    run: Run, relay_says: Callable[[SecureRelayError], None], error: SecureRelayError
):
    relay_says(error)
    assert run("join", invitation().uri()).status == 4
    assert not folder().exists()


def test_what_was_in_the_folder_before_stays(
    run: Run, profile: Profile, relay_says: Callable[[SecureRelayError], None]
):
    """The profile waited already: another try with the same key may still succeed."""
    relay_says(Refused("token-used"))
    assert run("join", invitation().uri()).status == 4
    assert (folder() / "key.pem").exists()


def test_after_a_broken_connection_the_key_is_kept_for_the_next_try(
    run: Run, relay_says: Callable[[SecureRelayError], None]
):
    relay_says(ConnectError("gone"))
    assert run("join", invitation().uri()).status == 3
    assert (folder() / "key.pem").exists()


@pytest.mark.parametrize("change", ["", "x", "securerelay://h:1/alice#sr1i_abc"])
def test_what_is_no_invitation_is_told_and_nothing_is_written(run: Run, change: str):
    ran = run("join", change, "--json")
    assert ran.status == 4
    assert not folder().parent.exists()


def test_a_typing_error_in_an_invitation_is_found_before_anybody_is_asked(run: Run):
    uri = invitation().uri()
    typo = uri[:-5] + ("a" if uri[-5] != "a" else "b") + uri[-4:]
    ran = run("join", typo)
    assert (ran.status, "typing error" in ran.err) == (4, True)
    assert not folder().exists()


def test_an_expired_invitation_is_told_before_anybody_is_asked(run: Run):
    ran = run("join", invitation(time.time() - 1).uri())
    assert (ran.status, "expired" in ran.err) == (4, True)
    assert not folder().exists()


def test_an_invitation_may_come_from_the_input_or_the_environment(
    run: Run, monkeypatch: pytest.MonkeyPatch
):
    late = invitation(time.time() - 1).uri()
    monkeypatch.setattr("sys.stdin", io.StringIO(late + "\n"))
    assert "expired" in run("join", "-").err
    monkeypatch.setenv("SECURERELAY_INVITATION", late)
    assert "expired" in run("join").err


def test_a_key_file_for_joining_needs_its_passphrase(
    run: Run, tmp_path: Path, secret: Callable[[str], str]
):
    path = str(tmp_path / "key.pem")
    run("keys", "generate", path, "--passphrase-file", secret("right"))
    wrong = ["--passphrase-file", secret("wrong")]
    ran = run("join", invitation().uri(), "--key", path, *wrong)
    assert ran.status == 4
    assert not folder().exists()


# -- init and config


def test_a_relays_folder_is_made_once(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "relay"
    (made,) = run("init", "--data", str(path), "--json").records
    assert made["created"] is True
    (again,) = run("init", "--data", str(path), "--json").records
    assert again == {**made, "created": False}
    assert f"securerelay invite NAME --data {path}\n" in run("init", "--data", str(path)).out


def test_a_folder_of_something_else_is_refused_and_left_alone(run: Run, tmp_path: Path):
    (tmp_path / "letter.txt").write_text("dear")
    before = sorted(tmp_path.iterdir())
    ran = run("init", "--data", str(tmp_path))
    assert (ran.status, ran.err.count("\n")) == (1, 1)
    assert sorted(tmp_path.iterdir()) == before


def test_a_good_configuration_is_called_good(run: Run, tmp_path: Path):
    path = tmp_path / "securerelay.toml"
    path.write_text("")
    assert run("config", "check", str(path), "--json").records == [{"file": str(path), "ok": True}]


def test_a_wrong_configuration_is_told_with_file_and_line(run: Run, tmp_path: Path):
    path = tmp_path / "securerelay.toml"
    path.write_text("\nflavour = 1\n")
    ran = run("config", "check", str(path))
    assert ran.status == 1
    assert ran.err.startswith(f"securerelay: {path}:2: flavour: unknown key")
