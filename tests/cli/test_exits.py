"""Every error has its exit status, its code and one line."""

from __future__ import annotations

import pytest

from securerelay import errors
from securerelay.cli.exits import (
    Failure,
    Interrupted,
    ReaderGone,
    code_of,
    sentence_of,
    status_of,
)


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (errors.BadName("x"), "bad-name", 2),
        (errors.ConnectError("x"), "connect", 3),
        (errors.RemoteError("truncated"), "truncated", 3),
        (errors.AuthenticationFailed("auth-failed"), "auth-failed", 4),
        (errors.AuthenticationFailed("revoked"), "revoked", 4),
        (errors.CertificateError("x"), "auth-failed", 4),
        (errors.WrongPassphrase("x"), "wrong-passphrase", 4),
        (errors.InvitationError("x"), "invitation", 4),
        (errors.Refused("token-used"), "token-used", 4),
        (errors.Refused("unknown"), "unknown", 5),
        (errors.Refused("offline"), "offline", 6),
        (errors.TimedOut("x"), "timeout", 7),
        (errors.Refused("mailbox-full"), "mailbox-full", 8),
        (errors.Refused("storage-full"), "storage-full", 8),
        (errors.Refused("rate"), "rate", 8),
        (errors.Refused("not-permitted"), "not-permitted", 1),
        (errors.KeyFileError("x"), "key-file", 1),
        (errors.ProfileError("x"), "profile", 1),
        (errors.ConfigError("x"), "config", 1),
        (errors.FolderLocked("x"), "locked", 1),
        (errors.StorageError("x"), "storage", 1),
        (errors.LocalError("x"), "error", 1),
        (Failure("timeout", "x"), "timeout", 7),
        (FileNotFoundError(2, "No such file", "x"), "error", 1),
    ],
)
def test_programs_learn_what_happened(error: Exception, code: str, status: int):
    assert (code_of(error), status_of(error)) == (code, status)


def test_a_signal_gives_the_status_that_shells_expect():
    assert status_of(Interrupted(2)) == 130
    assert status_of(ReaderGone()) == 141


def test_what_the_relay_said_is_told_in_words():
    told = sentence_of(errors.Refused("unknown", "whatever"))
    assert told == "the relay knows no such peer or room"


def test_whoever_must_seal_is_told_what_to_do_about_it():
    told = sentence_of(errors.Refused("unsealed"))
    assert "send without --plain-with, or have the administrator name one of you" in told


def test_a_code_that_we_do_not_know_is_shown_with_its_reason_and_escaped():
    said = sentence_of(errors.Refused("new\x1b", "because\n"))
    assert said == "the relay refused: new\\x1b (because\\x0a)"


def test_why_authentication_failed_is_told():
    assert sentence_of(errors.AuthenticationFailed("auth-failed", "the relay is another one")) == (
        "the relay is another one"
    )
    assert "prove" in sentence_of(errors.AuthenticationFailed("auth-failed"))


def test_a_wrong_path_is_one_line_with_the_path():
    error = FileNotFoundError(2, "No such file or directory", "/no/where\x1b")
    assert sentence_of(error) == "/no/where\\x1b: No such file or directory"
    assert sentence_of(OSError()) == "OSError"


def test_our_own_sentences_are_shown_as_they_are():
    assert sentence_of(errors.LocalError("do this")) == "do this"
