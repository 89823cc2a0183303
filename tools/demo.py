"""A relay and two peers, from nothing to a revoked name: what ``make demo`` shows.

What the two say is sealed, and after each message everything that the relay keeps and logs is
searched for it.  Everything is real, a daemon under twistd and the ``securerelay`` command, and
lives in a temporary folder on a free port, which is gone afterwards.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator

COMMANDS = pathlib.Path(sys.executable).parent
PATIENCE = 120.0
"""Seconds that any single step may take."""


class Demo:
    """The stage: a folder, and an environment in which all commands run.

    Args:
        folder: an empty one.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.data = folder / "relay"
        self.log = folder / "relay.log"
        self.said: list[str] = []
        self.options: list[str] = []  # more of them, for the relay
        mine = {key: value for key, value in os.environ.items() if "SECURERELAY" not in key}
        self.environment = {
            **mine,
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_DATA_HOME": str(folder / "data"),
            "PYTHONUNBUFFERED": "1",
        }

    @contextlib.contextmanager
    def relay(self) -> Iterator[None]:
        """Run a relay for as long as the block lasts."""
        options = ["--port", "tcp:0:interface=127.0.0.1", "--data", str(self.data), *self.options]
        command = ["twistd", "-n", "--pidfile=", "securerelay", *options]
        say("$ " + shlex.join(command))
        # The relay tells when it serves just as it tells systemd.
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready,
            self.log.open("wb") as output,
        ):
            ready.bind(str(self.folder / "notify"))
            ready.settimeout(0.2)
            process = subprocess.Popen(
                [COMMANDS / command[0], *command[1:]],
                cwd=self.folder,
                env={**self.environment, "NOTIFY_SOCKET": str(self.folder / "notify")},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                wait_until_ready(ready, process, self.log)
                yield
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(PATIENCE)

    def run(self, *words: str, given: str = "", status: int = 0) -> str:
        """Run ``securerelay`` as somebody at a terminal would, and show it.

        Args:
            words: what follows the command's name.
            given: its standard input.
            status: the exit status that it must have.

        Returns:
            Its standard output.
        """
        say(f"$ securerelay {shlex.join(words)}" + ("    # the invitation" if given else ""))
        done = subprocess.run(
            [COMMANDS / "securerelay", *words],
            cwd=self.folder,
            env=self.environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        for line in (done.stdout + done.stderr).splitlines():
            say("  " + line)
        if done.returncode != status:
            sys.exit(f"demo: exit status {done.returncode}, and not {status}")
        return done.stdout.strip()

    def say(self, sender: str, to: str, text: str) -> None:
        """Have somebody send a message, and show that the relay has none of it."""
        self.run("send", to, text, "--profile", sender)
        self.said.append(text)
        self.search()

    def kept(self) -> Iterator[tuple[pathlib.Path, bytes]]:
        """Yield all files that the relay has, and what it logged, with their contents."""
        for path in (*self.data.rglob("*"), self.log):
            if path.is_file():
                yield path, path.read_bytes()

    def search(self) -> None:
        """Look for what was said in everything that the relay keeps; leave if it is there."""
        size = 0
        for path, content in self.kept():
            size += len(content)
            for text in self.said:
                if text.encode() in content:
                    sys.exit(f"demo: the relay could read {text!r}: it is in {path}")
        say(f"  (searched {size:,} bytes that the relay keeps and logs: nothing said is there)")


def wait_until_ready(
    ready: socket.socket, process: subprocess.Popen[bytes], log: pathlib.Path
) -> None:
    """Wait for the relay's word that it serves; leave with its log if it ends instead."""
    while True:
        try:
            if b"READY=1" in ready.recv(4096):
                break
        except TimeoutError:
            if process.poll() is not None:
                sys.exit(f"demo: the relay did not start\n{log.read_text()}")
    for line in log.read_text().splitlines():
        if not line[:1].isdigit():  # what it says to people; log lines begin with the time
            say("  " + line)


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def title(text: str) -> None:
    """Say what comes next."""
    say(f"\n== {text}")


def play(demo: Demo) -> None:
    """Show it all.

    Args:
        demo: the stage.
    """
    title("A relay makes its authority and its identity, and serves")
    with demo.relay():
        for name in ("alice", "bob"):
            title(f"{name.capitalize()} is invited, and joins with a key of their own")
            invitation = demo.run("invite", name, "--data", str(demo.data))
            demo.run("join", "-", given=invitation)
        title("Alice writes to Bob, who is not there; his mailbox keeps it, sealed")
        demo.say("alice", "bob", "Hello Bob, are you there?")
        demo.run("listen", "--count", "1", "--profile", "bob")
        title("Bob answers")
        demo.say("bob", "alice", "Hello Alice, now I am.")
        demo.run("listen", "--count", "1", "--profile", "alice")
        title("They compare a number on the telephone, and know whose keys they have")
        for name, other in (("alice", "bob"), ("bob", "alice")):
            demo.run("verify", other, "--yes", "--profile", name)
        demo.run("contacts", "--profile", "alice")
        demo.run("send", "bob", "--explain", "--profile", "alice")
        title("A room, for the members whom Alice signs")
        demo.run("room", "create", "@team", "bob", "--profile", "alice")
        demo.say("alice", "@team", "Lunch at noon, everybody.")
        demo.run("listen", "--count", "1", "--profile", "bob")
        title("Bob looks whether the relay has made a second Bob")
        demo.run("log", "verify", "--profile", "bob")
        title("Nobody is called carol")
        demo.run("send", "carol", "Hello?", "--profile", "alice", status=5)
        title("Bob is shut out")
        demo.run("revoke", "bob", "--data", str(demo.data))
        demo.run("send", "alice", "Me again.", "--profile", "bob", status=4)
    title("The relay is stopped. What has it kept of all that was said?")
    demo.search()


def main() -> None:
    """Show it all, and clean up."""
    with tempfile.TemporaryDirectory(prefix="securerelay-demo-") as folder:
        play(Demo(pathlib.Path(folder)))
    title("Everything is erased. That was SecureRelay.")


if __name__ == "__main__":
    main()
