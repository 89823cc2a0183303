"""The command line of ``twistd securerelay``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.application.service import IServiceMaker, ServiceMaker
from twisted.plugin import getPlugins
from twisted.python import usage

import securerelay
from securerelay.errors import ConfigError
from securerelay.relay.config import Config
from securerelay.tap import Options, _check_user, _log_stream, configuration


def config(*arguments: str) -> Config:
    options = Options()
    options.parseOptions(list(arguments))
    return configuration(options)


def test_without_options_it_listens_on_port_3000() -> None:
    assert config() == Config()
    assert config().listen == ("tcp:3000",)
    assert config().data.is_absolute()


def test_a_port_is_digits_or_an_endpoint() -> None:
    assert config("--port", "4000").listen == ("tcp:4000",)
    assert config("-p", "tcp:4000:interface=::1").listen == ("tcp:4000:interface=::1",)


def test_every_way_to_listen_adds_up_and_takes_the_files_place(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    path.write_text('listen = ["5000"]\n[tls]\nlisten = ["5001"]\nnames = ["relay.example"]\n')
    assert config("--config", str(path)).listen == ("tcp:5000",)
    changed = config(
        "--config", str(path), "--port", "1", "--listen", "2", "-l", "unix:/x", "--listen-tls", "3"
    )
    assert changed.listen == ("tcp:1", "tcp:2", "unix:/x")
    assert changed.tls.listen == ("tcp:3",)
    assert changed.tls.names == ("relay.example",)


def test_the_data_folder_on_the_command_line_goes_before_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "relay.toml"
    path.write_text('data = "here"\n')
    monkeypatch.chdir(tmp_path)
    assert config("--config", "relay.toml").data == tmp_path / "here"
    assert config("--config", "relay.toml", "--data", "there").data == tmp_path / "there"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--port", "http"), "where to listen must be a port or a Twisted endpoint"),
        (("--port", "70000"), "where to listen must be a port from 0 to 65535"),
        (("--listen", ""), "where to listen must be"),
        (("--data", ""), "--data needs a folder"),
        (("--config", "/nowhere"), "/nowhere: cannot be read"),
    ],
)
def test_what_cannot_be_is_told(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(*arguments)


def test_an_unknown_option_is_a_usage_error() -> None:
    with pytest.raises(usage.UsageError):
        Options().parseOptions(["--frobnicate"])


def test_it_tells_its_own_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        Options().parseOptions(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"SecureRelay {securerelay.__version__}\n"


def test_twisted_finds_the_plugin() -> None:
    import twisted.plugins

    found: list[Any] = [
        plugin
        for plugin in getPlugins(IServiceMaker, twisted.plugins)
        if plugin.tapname == "securerelay"
    ]
    assert len(found) == 1
    assert isinstance(found[0], ServiceMaker)
    assert found[0].options is Options


def test_twistds_change_of_user_is_refused() -> None:
    _check_user({})
    _check_user({"uid": None, "chroot": None})
    _check_user({"uid": os.getuid()})
    for outer in ({"uid": os.getuid() + 1}, {"chroot": "/"}):
        with pytest.raises(ConfigError, match="cannot be used"):
            _check_user(outer)


def test_the_log_goes_where_twistd_would_write_it(tmp_path: Path) -> None:
    reactor = object()
    assert _log_stream({}, reactor) is None, "twist writes its own"
    assert _log_stream({"nodaemon": 1, "syslog": True}, reactor) is None
    assert _log_stream({"nodaemon": 1}, reactor) is sys.stdout
    assert _log_stream({"nodaemon": 0, "logfile": "-"}, reactor) is sys.stdout
    path = tmp_path / "relay.log"
    stream = _log_stream({"nodaemon": 1, "logfile": str(path)}, reactor)
    assert stream is not None
    stream.write("é\n")
    assert path.read_text() == "é\n"
