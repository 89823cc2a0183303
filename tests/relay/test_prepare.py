"""What is found wrong before a relay runs, and where its passphrase comes from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from securerelay.errors import ConfigError, FolderLocked, LocalError, StorageError
from securerelay.relay.config import Config, Passphrase
from securerelay.relay.prepare import find_passphrase, prepare
from tests.relay.folders import copy_folder
from tests.relay.in_memory import ThreadlessReactor


def secret_file(folder: Path, text: str) -> Path:
    path = folder / "secret"
    path.touch(0o600)
    path.write_text(text)
    return path


def test_a_passphrase_comes_from_a_file(tmp_path: Path) -> None:
    assert find_passphrase(Passphrase(file=secret_file(tmp_path, "horse\n"))) == b"horse"
    with pytest.raises(LocalError):
        find_passphrase(Passphrase(file=tmp_path / "nowhere"))


def test_a_passphrase_comes_from_the_environment_and_is_gone_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CA_PASS", "horse")
    assert find_passphrase(Passphrase(environment="CA_PASS")) == b"horse"
    assert "CA_PASS" not in os.environ
    with pytest.raises(ConfigError, match="the environment variable CA_PASS is not set"):
        find_passphrase(Passphrase(environment="CA_PASS"))


def test_a_passphrase_comes_from_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_passphrase(Passphrase()) is None
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert find_passphrase(Passphrase()) is None
    (tmp_path / "ca-passphrase").write_text("horse")
    assert find_passphrase(Passphrase()) == b"horse"
    (tmp_path / "other").write_text("cow")
    assert find_passphrase(Passphrase(credential="other")) == b"cow"
    with pytest.raises(LocalError, match="no credential third"):
        find_passphrase(Passphrase(credential="third"))


def test_the_ports_are_taken_and_the_folder_is_open(tmp_path: Path) -> None:
    reactor = ThreadlessReactor()
    config = Config(data=copy_folder(tmp_path / "data"))
    relay = prepare(reactor, lambda: config)
    assert [server[0] for server in reactor.tcpServers] == [3000]
    assert relay.folder.path == tmp_path / "data"
    assert relay.config is config


def test_the_folder_is_held_from_then_on_until_the_relay_has_stopped(tmp_path: Path) -> None:
    reactor = ThreadlessReactor()
    config = Config(data=copy_folder(tmp_path / "data"))
    relay = prepare(reactor, lambda: config)
    with pytest.raises(FolderLocked):
        prepare(reactor, lambda: config)
    Deferred.fromCoroutine(relay.stop())
    prepare(reactor, lambda: config)


def test_nothing_is_made_when_the_configuration_cannot_be_met(tmp_path: Path) -> None:
    reactor = ThreadlessReactor()
    with pytest.raises(ConfigError, match="is no endpoint"):
        prepare(reactor, lambda: Config(data=tmp_path / "data", listen=("pigeon:3000",)))
    long = tmp_path / ("x" * 100)
    with pytest.raises(StorageError, match="too long"):
        prepare(reactor, lambda: Config(data=long))
    with pytest.raises(LocalError):
        prepare(
            reactor,
            lambda: Config(data=tmp_path / "data", passphrase=Passphrase(file=tmp_path / "none")),
        )
    assert list(tmp_path.iterdir()) == []
