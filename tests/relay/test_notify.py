"""What systemd is told."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from securerelay.relay.notify import Notifier


@pytest.mark.parametrize("abstract", [False, True])
def test_every_state_is_one_datagram(tmp_path: Path, abstract: bool) -> None:
    name = f"@securerelay-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name[1:] if abstract else name)
        notifier = Notifier({"NOTIFY_SOCKET": name})
        notifier.ready()
        notifier.reloading()
        notifier.stopping()
        notifier.alive()
        told = [systemd.recv(200).decode() for _ in range(4)]
    assert told[0] == "READY=1"
    assert told[1].startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert told[2:] == ["STOPPING=1", "WATCHDOG=1"]


def test_outside_systemd_nothing_happens(tmp_path: Path) -> None:
    Notifier({}).ready()
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready()
    assert Notifier({}).interval is None


def test_the_watchdog_is_fed_twice_in_its_time_if_it_is_ours() -> None:
    assert Notifier({"WATCHDOG_USEC": "30000000"}).interval == 15
    assert Notifier({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}).interval == 15
    assert Notifier({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}).interval is None
    assert Notifier({"WATCHDOG_USEC": "0"}).interval is None
    assert Notifier({"WATCHDOG_USEC": "soon"}).interval is None
