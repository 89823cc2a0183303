"""Where a passphrase comes from."""

from __future__ import annotations

import pytest

from securerelay.errors import LocalError
from securerelay.identity import passphrase


def private(path, data):
    path.write_bytes(data)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"secret", b"secret"),
        (b"secret\n", b"secret"),
        (b"secret\r\n", b"secret"),
        (b"secret\n\n", b"secret\n"),
        (b" secret \n", b" secret "),
        (b"\xff\n", b"\xff"),
    ],
)
def test_one_line_feed_at_the_end_is_not_part_of_a_passphrase(tmp_path, content, value):
    assert passphrase.from_file(private(tmp_path / "p", content)) == value
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert passphrase.from_credential("p", environ) == value
    text = content.decode("utf-8", "surrogateescape")
    assert passphrase.from_environment("P", {"P": text}) == value


def test_a_passphrase_in_a_file_that_others_can_read_is_refused(tmp_path):
    path = private(tmp_path / "p", b"secret")
    path.chmod(0o644)
    with pytest.raises(LocalError, match="chmod 600"):
        passphrase.from_file(path)


@pytest.mark.parametrize("content", [b"", b"\n"])
def test_an_empty_passphrase_is_refused(tmp_path, content):
    path = private(tmp_path / "p", content)
    with pytest.raises(LocalError, match="empty"):
        passphrase.from_file(path)
    with pytest.raises(LocalError, match=r"empty \(\$P\)"):
        passphrase.from_environment("P", {"P": content.decode()})
    with pytest.raises(LocalError, match="the credential p"):
        passphrase.from_credential("p", {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    with pytest.raises(LocalError, match="empty"):
        passphrase.ask(lambda question: content.decode().strip(), "?")


def test_what_is_not_there_is_none(tmp_path):
    assert passphrase.from_environment("P", {}) is None
    assert passphrase.from_credential("p", {}) is None
    assert passphrase.from_credential("p", {"CREDENTIALS_DIRECTORY": str(tmp_path)}) is None


def test_a_credential_that_cannot_be_read_is_told(tmp_path):
    (tmp_path / "p").mkdir()
    with pytest.raises(LocalError, match="cannot read the credential"):
        passphrase.from_credential("p", {"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_a_new_passphrase_is_asked_for_twice():
    answers = iter(["s\u00e9cret", "s\u00e9cret", "one", "other", "once"])
    asked = []

    def prompt(question):
        asked.append(question)
        return next(answers)

    assert passphrase.ask(prompt, "Passphrase", confirm=True) == "s\u00e9cret".encode()
    with pytest.raises(LocalError, match="differ"):
        passphrase.ask(prompt, "Passphrase", confirm=True)
    assert passphrase.ask(prompt, "Passphrase") == b"once"
    assert asked == ["Passphrase", "Passphrase (again)"] * 2 + ["Passphrase"]
