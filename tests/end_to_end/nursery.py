"""Relays that start in a moment: one process imports everything, and forks a relay when asked.

A forked relay is ``twistd -n securerelay`` from its command line on, with a reactor, threads and
files of its own; only the second that Python needs to import it is saved.

The process takes one JSON object a line and answers each with one.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.end_to_end.daemon import PATIENCE, environment

_IN_MODIFY = 2


class Nursery:
    """The process that forks relays, seen from a test."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _ask(self, **request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, folder: Path, *options: str | Path, failpoint: str = "") -> int:
        """Start a relay.

        Args:
            folder: where it runs; what it says is added to ``relay.log`` there.
            options: of ``twistd securerelay``.
            failpoint: where it dies.

        Returns:
            Its process id; it serves a moment later.
        """
        pid: int = self._ask(
            do="start", folder=str(folder), options=[*map(str, options)], failpoint=failpoint
        )
        return pid

    def kill_when_written(self, pid: int, path: Path) -> None:
        """Have a relay killed as soon as a file is written to."""
        self._ask(do="watch", pid=pid, path=str(path))

    def ended(self, pid: int) -> int | None:
        """Return how a relay ended, None while it runs; negative for a signal."""
        status: int | None = self._ask(do="poll", pid=pid)
        return status

    def kill(self, pid: int) -> None:
        """Kill a relay, and wait until it is gone."""
        self._ask(do="kill", pid=pid)

    def stop(self, pid: int, turn: Callable[[], None] = lambda: time.sleep(0.02)) -> int:
        """Ask a relay to end.

        Args:
            pid: which one.
            turn: called until it has, so that its peers can do their part.

        Returns:
            How it ended.
        """
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while (status := self.ended(pid)) is None:
            assert time.monotonic() < deadline, "the relay does not end"
            turn()
        return status

    def close(self) -> None:
        """End everything that was started."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()


def _child(request: dict[str, Any], run: Any) -> None:
    """Become a relay."""
    from securerelay import failpoints

    null = os.open(os.devnull, os.O_RDONLY)
    log = os.open(Path(request["folder"]) / "relay.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(request["folder"])
    failpoints.arm(request["failpoint"])
    sys.argv = ["twistd", "-n", "--pidfile=", "securerelay", *request["options"]]
    try:
        run()
    except SystemExit as end:
        if isinstance(end.code, str):
            os.write(2, f"{end.code}\n".encode())
        raise


def _watch(pid: int, path: bytes) -> None:
    """Kill a process at the first write to a file, or end with it."""
    libc = ctypes.CDLL(None, use_errno=True)
    notices = libc.inotify_init1(0)
    libc.inotify_add_watch(notices, path, _IN_MODIFY)
    # Ends with the nursery, which is its parent.
    libc.prctl(1, signal.SIGKILL)
    os.write(1, b"null\n")
    os.close(1)
    os.read(notices, 4096)
    os.kill(pid, signal.SIGKILL)


def _serve() -> None:
    # What a relay imports, but not the reactor, of which each needs its own.
    from twisted.scripts.twistd import run

    import securerelay.relay.prepare
    import securerelay.tap  # noqa: F401
    import twisted.plugins  # noqa: F401

    assert "twisted.internet.reactor" not in sys.modules
    gc.collect()
    gc.freeze()
    relays: dict[int, int | None] = {}
    watchers: list[int] = []
    for line in sys.stdin:
        request = json.loads(line)
        answer: Any = None
        if request["do"] == "start":
            answer = os.fork()
            if not answer:
                try:
                    _child(request, run)
                finally:
                    os._exit(1)
            relays[answer] = None
        elif request["do"] == "watch":
            watcher = os.fork()
            if not watcher:
                try:
                    _watch(request["pid"], os.fsencode(request["path"]))
                finally:
                    os._exit(0)
            watchers.append(watcher)
            continue  # the watcher answers, once it watches
        else:
            pid = request["pid"]
            if request["do"] == "kill" and relays[pid] is None:
                os.kill(pid, signal.SIGKILL)
            if relays[pid] is None:
                found, status = os.waitpid(pid, 0 if request["do"] == "kill" else os.WNOHANG)
                if found:
                    relays[pid] = os.waitstatus_to_exitcode(status)
            answer = relays[pid]
            if answer is not None:
                for watcher in watchers:
                    os.kill(watcher, signal.SIGKILL)
                    os.waitpid(watcher, 0)
                watchers.clear()
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for pid, ended in relays.items():
        if ended is None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


if __name__ == "__main__":
    _serve()
