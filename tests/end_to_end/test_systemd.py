"""The relay does what the systemd unit promises, when started by exactly the unit's command."""

from __future__ import annotations

import pathlib
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.end_to_end.daemon import PATIENCE, TWISTD, environment

ROOT = pathlib.Path(__file__).parent.parent.parent
UNITS = ROOT / "etc" / "systemd"

# systemd hands the socket over as descriptor 3 and names the process that may take it.
LAUNCHER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.set_inheritable(3, True)
me = str(os.getpid())
os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="securerelay.socket", LISTEN_PID=me)
os.environ.update(WATCHDOG_PID=me)
os.execv(sys.argv[2], sys.argv[2:])
"""


def setting(unit: str, name: str) -> str:
    """A setting of a unit file, with its continued lines joined."""
    text = (UNITS / unit).read_text(encoding="utf-8").replace("\\\n", " ")
    values = [line.partition("=")[2] for line in text.splitlines() if line.startswith(name + "=")]
    assert len(values) == 1, f"{name}= stands {len(values)} times in {unit}"
    return values[0]


class Supervisor:
    """Plays systemd for one service.

    Args:
        folder: an empty one.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        credentials = folder / "credentials"
        credentials.mkdir(mode=0o700)
        (credentials / "ca-passphrase").write_text("correct horse\n")
        (credentials / "ca-passphrase").chmod(0o400)
        self.data = folder / "state"
        self.config = folder / "securerelay.toml"
        self.config.write_text((ROOT / "etc" / "securerelay.toml").read_text())
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notified.bind(str(folder / "notify"))
        self.notified.settimeout(0.5)
        self.deadline = time.monotonic() + PATIENCE
        self.listening = socket.create_server(("127.0.0.1", 0))
        places = {
            "/opt/securerelay/bin/twistd": None,
            "/etc/securerelay/securerelay.toml": str(self.config),
            "/var/lib/securerelay": str(self.data),
        }
        words = [
            places.get(word, word)
            for word in shlex.split(setting("securerelay.service", "ExecStart"))
        ]
        assert words[0] is None, "the unit's command begins with twistd"
        assert set(places.values()) - {None} <= set(words), "the unit names configuration and data"
        self.log = (folder / "log").open("w+")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-c", LAUNCHER, str(self.listening.fileno())),
                *(sys.executable, "-c", TWISTD, *(word for word in words[1:] if word is not None)),
            ],
            cwd=folder,
            env={
                **environment(),
                "NOTIFY_SOCKET": str(folder / "notify"),
                "WATCHDOG_USEC": "1000000",
                "CREDENTIALS_DIRECTORY": str(credentials),
            },
            pass_fds=(self.listening.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )

    def wait_for(self, state: str) -> None:
        """Wait until the service says something, such as ``READY=1``."""
        while True:
            try:
                if state in self.notified.recv(4096).decode().splitlines():
                    return
            except TimeoutError:
                ended = self.process.poll() is not None
                if ended or time.monotonic() > self.deadline:
                    self.log.seek(0)
                    raise AssertionError(f"never {state}:\n{self.log.read()}") from None


@pytest.fixture
def service(tmp_path: pathlib.Path) -> Iterator[Supervisor]:
    """The service, started."""
    supervisor = Supervisor(tmp_path)
    yield supervisor
    supervisor.process.kill()
    supervisor.process.wait(PATIENCE)
    supervisor.notified.close()
    supervisor.listening.close()
    supervisor.log.close()


def test_the_service_is_ready_serves_the_socket_reloads_is_watched_and_stops(service: Supervisor):
    service.wait_for("READY=1")
    with socket.create_connection(service.listening.getsockname(), PATIENCE) as stranger:
        stranger.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert stranger.recv(64).startswith(b"SR1 ERR code=")
    service.wait_for("WATCHDOG=1")
    service.process.send_signal(signal.SIGHUP)
    service.wait_for("RELOADING=1")
    service.wait_for("READY=1")
    service.process.send_signal(signal.SIGTERM)
    service.wait_for("STOPPING=1")
    # twistd ends by the signal that stopped it, which systemd counts as clean.
    assert service.process.wait(PATIENCE) in (0, -signal.SIGTERM)


def test_the_authority_of_the_service_is_under_the_passphrase_that_systemd_hands_over(
    service: Supervisor,
):
    service.wait_for("READY=1")
    key = (service.data / "ca.key").read_bytes()
    assert b"BEGIN PRIVATE KEY" not in key
    assert b"SECURERELAY" in key


def test_the_unit_reads_the_pid_file_of_nobody_and_signals_by_absolute_path():
    assert "--pidfile=" in shlex.split(setting("securerelay.service", "ExecStart"))
    assert setting("securerelay.service", "ExecReload").startswith("/")
    assert setting("securerelay.service", "Type") == "notify"


def test_the_sandbox_leaves_the_pages_of_pyopenssl_alone():
    text = (UNITS / "securerelay.service").read_text(encoding="utf-8")
    assert "\nMemoryDenyWriteExecute" not in text
    assert "# The sandbox. MemoryDenyWriteExecute= stays off" in text
