"""The real daemon: what it says, what it refuses, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.daemon import PATIENCE, Daemon, command, environment, running, wait_until
from tests.relay.folders import copy_folder

LOCAL = "tcp:0:interface=127.0.0.1"


@pytest.fixture(scope="module")
def made_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete data folder to copy."""
    return copy_folder(tmp_path_factory.mktemp("made") / "data")


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory, made_folder: Path) -> Iterator[Daemon]:
    """A relay that all tests here share."""
    with running(tmp_path_factory.mktemp("relay"), like=made_folder) as daemon:
        yield daemon


def refused(folder: Path, *options: str | Path, code: int = 1) -> str:
    """Run a relay that cannot start; return the one line that it says."""
    done = subprocess.run(
        command(*options),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("securerelay: ")
    return line


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """What is in a folder, with times and sizes."""
    found = {}
    for path in sorted(folder.rglob("*")):
        state = path.lstat()
        found[str(path)] = (state.st_mtime_ns, state.st_size)
    return found


def test_a_first_start_makes_everything_and_says_where_it_is(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        data = tmp_path / "data"
        relay_id = daemon.admin("status")["id"]
        assert f"  data       {data}" in daemon.lines
        assert any(line.startswith(f"  authority  {data}/ca.crt") for line in daemon.lines)
        assert f"  relay id   {relay_id}" in daemon.lines
        assert f"Invite somebody with: securerelay invite NAME --data {data}" in daemon.lines
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
        for path in data.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
        with socket.create_connection(("127.0.0.1", daemon.port), PATIENCE) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert connection.makefile("rb").readline() == b"SR1 ERR code=bad-line\n"
    with running(tmp_path) as again:
        assert again.admin("status")["id"] == relay_id
        assert not any(line.startswith("A new relay") for line in again.lines)


def test_sighup_while_the_first_keys_are_made_is_no_harm(tmp_path: Path) -> None:
    data = tmp_path / "data"
    process = subprocess.Popen(
        command("--data", data, "--port", "tcp:0:interface=127.0.0.1"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    daemon = Daemon(process, data)
    try:
        wait_until((data / "unfinished").exists, "the keys are being made")
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("relay.ready")
        daemon.wait_for("config.read")
    finally:
        daemon.stop()


def test_a_second_relay_on_the_same_folder_is_refused(relay: Daemon, tmp_path: Path) -> None:
    line = refused(tmp_path, "--data", relay.data, "--port", LOCAL)
    assert f"another relay (pid {relay.process.pid}) is running on" in line
    assert relay.admin("status")["ok"] is True


def test_a_port_in_use_is_told_and_nothing_is_made(relay: Daemon, tmp_path: Path) -> None:
    line = refused(
        tmp_path, "--data", tmp_path / "data", "--port", f"tcp:{relay.port}:interface=127.0.0.1"
    )
    assert "cannot listen on tcp:" in line
    assert "Address already in use" in line
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_configuration_is_told_with_its_line_and_nothing_is_made(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    path.write_text("[limits]\nmesage_bytes = 3\n")
    line = refused(tmp_path, "--config", path, "--data", tmp_path / "data")
    assert f"{path}:2: limits.mesage_bytes: unknown key (did you mean message_bytes?)" in line
    assert list(tmp_path.iterdir()) == [path]


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    data = tmp_path / "photos"
    data.mkdir()
    (data / "holiday.jpg").write_bytes(b"JPEG")
    before = listing(tmp_path)
    line = refused(tmp_path, "--data", data, "--port", LOCAL)
    assert f"{data} is not a relay's folder" in line
    assert listing(tmp_path) == before


def test_a_place_where_no_folder_can_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    line = refused(tmp_path, "--data", tmp_path / "file" / "data", "--port", LOCAL)
    assert str(tmp_path / "file") in line


def test_a_wrong_passphrase_is_told_and_changes_nothing(tmp_path: Path, made_folder: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch(0o600)
    secret.write_text("right\n")
    config = tmp_path / "relay.toml"
    config.write_text('listen = ["tcp:0:interface=127.0.0.1"]\n[passphrase]\nfile = "secret"\n')
    with running(tmp_path, "--config", config, like=made_folder) as daemon:
        assert daemon.admin("status")["ok"] is True
    before = listing(tmp_path / "data")
    secret.write_text("wrong\n")
    line = refused(tmp_path, "--config", config, "--data", tmp_path / "data")
    assert "passphrase" in line
    assert "wrong\n" not in line
    assert listing(tmp_path / "data") == before


def test_a_damaged_database_is_told_and_left_alone(tmp_path: Path, made_folder: Path) -> None:
    with running(tmp_path, like=made_folder):
        pass
    database = tmp_path / "data" / "relay.sqlite"
    database.write_bytes(b"something else entirely" * 100)
    done = subprocess.run(
        command("--data", tmp_path / "data", "--port", LOCAL),
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "relay.failed reason=" in done.stdout
    assert database.read_bytes() == b"something else entirely" * 100


def test_sighup_takes_a_new_configuration_and_keeps_the_old_one_if_it_is_wrong(
    tmp_path: Path, made_folder: Path
) -> None:
    config = tmp_path / "relay.toml"
    config.write_text(f'listen = ["{LOCAL}"]\n')
    with running(tmp_path, "--config", config, like=made_folder) as daemon:
        config.write_text(f'listen = ["{LOCAL}"]\nadvertise = "relay.example:4000"\n')
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("config.read")
        assert daemon.admin("status")["advertise"] == "relay.example:4000"
        config.write_text("listen = 7\n")
        daemon.signal(signal.SIGHUP)
        line = daemon.wait_for("config.refused")
        assert f"{config}:1: listen: must be a list" in line
        assert daemon.admin("status")["advertise"] == "relay.example:4000"
        with socket.create_connection(("127.0.0.1", daemon.port), PATIENCE):
            pass


def test_sigterm_ends_it_in_time_and_leaves_the_folder_to_the_next(
    tmp_path: Path, made_folder: Path
) -> None:
    daemon = Daemon.start(tmp_path, like=made_folder)
    with socket.create_connection(("127.0.0.1", daemon.port), PATIENCE):
        assert daemon.stop() == -signal.SIGTERM, "twistd ends by the signal it was sent"
    assert "relay.stopped" in daemon.output
    assert not (tmp_path / "data" / "admin.sock").exists()
    with running(tmp_path):
        pass


def test_a_socket_that_a_crash_left_behind_keeps_nobody_out(
    tmp_path: Path, made_folder: Path
) -> None:
    daemon = Daemon.start(tmp_path, like=made_folder)
    daemon.signal(signal.SIGKILL)
    daemon.process.wait(PATIENCE)
    assert (tmp_path / "data" / "admin.sock").exists()
    with running(tmp_path) as again:
        assert again.admin("status")["ok"] is True


def test_an_endpoint_inside_tls_shows_a_certificate_of_the_relays_authority(
    tmp_path: Path, made_folder: Path
) -> None:
    with running(tmp_path, "--listen-tls", LOCAL, like=made_folder) as daemon:
        (place,) = daemon.admin("status")["listen"]
        port = int(place.split()[2])
        context = ssl.create_default_context(cafile=tmp_path / "data" / "ca.crt")
        context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
        with (
            socket.create_connection(("127.0.0.1", port), PATIENCE) as connection,
            context.wrap_socket(connection, server_hostname="localhost") as inside,
        ):
            inside.sendall(b"hello\n")
            assert inside.makefile("rb").readline() == b"SR1 ERR code=bad-line\n"


def test_json_lines_are_logged_on_request(tmp_path: Path, made_folder: Path) -> None:
    import json

    config = tmp_path / "relay.toml"
    config.write_text(f'listen = ["{LOCAL}"]\n[log]\nformat = "json"\n')
    with running(tmp_path, "--config", config, like=made_folder) as daemon:
        ready = json.loads(daemon.wait_for("relay.ready"))
        assert ready["event"] == "relay.ready"
        assert ready["id"] == daemon.admin("status")["id"]


def test_systemd_is_told_when_it_serves_reloads_and_stops(
    tmp_path: Path, made_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with running(tmp_path, like=made_folder) as daemon:
            assert systemd.recv(100) == b"READY=1"
            daemon.signal(signal.SIGHUP)
            assert systemd.recv(100).startswith(b"RELOADING=1\n")
            assert systemd.recv(100) == b"READY=1"
        assert systemd.recv(100) == b"STOPPING=1"


def test_as_a_real_daemon_it_leaves_the_terminal_and_logs_to_a_file(
    tmp_path: Path, made_folder: Path
) -> None:
    data = tmp_path / "data"
    copy_folder(data)
    arguments = command("--data", data, "--port", LOCAL)
    arguments[arguments.index("-n") : arguments.index("-n") + 2] = [
        "--pidfile=relay.pid",
        "--logfile=relay.log",
    ]
    done = subprocess.run(arguments, cwd=tmp_path, env=environment(), timeout=PATIENCE, check=False)
    assert done.returncode == 0
    log = tmp_path / "relay.log"
    wait_until(lambda: (tmp_path / "relay.pid").exists() and log.exists(), "it runs")
    pid = int((tmp_path / "relay.pid").read_text())
    try:
        wait_until(lambda: "relay.ready" in log.read_text(), "the log says so")
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not (tmp_path / "relay.pid").exists(), "it has ended")
