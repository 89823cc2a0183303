"""People at terminals: the real ``securerelay`` command in processes, and a wire to tap."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.end_to_end.daemon import PATIENCE, ROOT

COMMAND = [sys.executable, "-m", "securerelay"]


@dataclass
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> str:
        code: str = json.loads(self.err)["error"]
        return code


class Running:
    """A command that goes on: what it writes is collected, and it can be typed to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._ended = 0
        self._readers = [
            threading.Thread(target=self._read, args=(stream,), daemon=True)
            for stream in (process.stdout, process.stderr)
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any) -> None:
        for line in stream:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._ended += 1
            self._news.notify_all()

    def wait_for(self, text: str) -> str:
        """Wait for a line that holds a text, and return it."""
        deadline = time.monotonic() + PATIENCE
        with self._news:
            while True:
                for line in self.lines:
                    if text in line:
                        return line
                late = time.monotonic() > deadline
                assert self._ended < 2 and not late, f"no {text!r} in {self.lines}"  # noqa: PT018
                self._news.wait(1)

    def type(self, line: str) -> None:
        """Type a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def end_input(self) -> None:
        """Press Ctrl-D."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def wait(self) -> int:
        """Wait for its end, and return its exit status."""
        status = self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        assert "Traceback" not in "\n".join(self.lines), self.lines
        return status


class Person:
    """Somebody with a home folder of their own.

    Args:
        home: the folder; made here.
        environment: more variables.
    """

    def __init__(self, home: Path, **environment: str) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        kept = {key: value for key, value in os.environ.items() if "SECURERELAY" not in key}
        self.environment = {
            **kept,
            "PYTHONPATH": str(ROOT),
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_DATA_HOME": str(home / "share"),
            **environment,
        }

    @property
    def profiles(self) -> Path:
        return self.home / "config" / "securerelay"

    def run(self, *words: str | Path, given: str | bytes = "", **environment: str) -> Done:
        """Run a command to its end; its input is ``given``."""
        done = subprocess.run(
            [*COMMAND, *map(str, words)],
            cwd=self.home,
            env={**self.environment, **environment},
            input=given.encode() if isinstance(given, str) else given,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        out, err = done.stdout.decode(), done.stderr.decode()
        assert "Traceback" not in err, err
        return Done(done.returncode, out, err)

    def must(self, *words: str | Path, given: str | bytes = "", **environment: str) -> Done:
        """Run a command that has to succeed."""
        done = self.run(*words, given=given, **environment)
        assert done.status == 0, done
        return done

    @contextlib.contextmanager
    def running(self, *words: str | Path) -> Iterator[Running]:
        """Have a command running for the time of a ``with`` block."""
        process = subprocess.Popen(
            [*COMMAND, *map(str, words)],
            cwd=self.home,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        running = Running(process)
        try:
            yield running
        finally:
            process.kill()
            process.wait(PATIENCE)


def enrol(data: Path, home: Path, name: str, *join: str | Path, address: str = "") -> Person:
    """Have the administrator of a data folder invite somebody, who joins."""
    admin = Person(home / "admin")
    more = ("--address", address) if address else ()
    uri = admin.must("invite", name, "--data", data, *more).out
    person = Person(home / name)
    person.must("join", "-", *join, given=uri)
    return person


Alter = Callable[[int, bytes], bytes]
"""What happens to a block from the client: the number of bytes before it, and the block."""


class Wire:
    """A wire between clients and a relay that keeps every byte, and can alter them.

    Args:
        port: the relay's, on this machine.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.alter_up: Alter = lambda at, block: block
        self.alter_down: Alter = lambda at, block: block
        self.up = bytearray()
        self.down = bytearray()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                relay = socket.create_connection(self._target, PATIENCE)
                for ends in ((client, relay, True), (relay, client, False)):
                    threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        at = 0
        with contextlib.suppress(OSError):
            while block := source.recv(65536):
                (self.up if up else self.down).extend(block)
                sink.sendall((self.alter_up if up else self.alter_down)(at, block))
                at += len(block)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    @property
    def carried(self) -> bytes:
        """Every byte, both ways."""
        return bytes(self.up + self.down)

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()
