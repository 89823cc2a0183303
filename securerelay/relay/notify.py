"""Tells systemd how the relay is: ready, reloading, stopping, still alive (``sd_notify(3)``).

The protocol is one datagram of ``KEY=value`` lines to the socket that ``$NOTIFY_SOCKET`` names;
outside systemd there is none and nothing happens.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """Writes to systemd's notification socket, if there is one.

    Args:
        environment: where ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` are.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ):
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog = _watchdog_seconds(environment)

    def ready(self) -> None:
        """The relay serves, or serves again after reloading."""
        self._send("READY=1")

    def reloading(self) -> None:
        """The configuration is read again; :meth:`ready` follows."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The relay drains its sessions."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """The reactor still turns."""
        self._send("WATCHDOG=1")

    @property
    def interval(self) -> float | None:
        """How often :meth:`alive` is due, in seconds; None if nobody watches."""
        return None if self._watchdog is None else self._watchdog / 2

    def _send(self, state: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
                out.setblocking(False)
                out.sendto(state.encode(), self._address)
        except OSError:
            # A supervisor that does not listen is no reason to stop serving.
            return


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    usec = environment.get("WATCHDOG_USEC", "")
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(usec) / 1e6 if usec.isascii() and usec.isdigit() and int(usec) > 0 else None
