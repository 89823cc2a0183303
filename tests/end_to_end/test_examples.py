"""The programs that the documentation shows do what it says."""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
import sys
from collections.abc import Iterator

from tests.end_to_end.daemon import PATIENCE, environment

EXAMPLES = pathlib.Path(__file__).parent.parent.parent / "docs" / "examples"


@contextlib.contextmanager
def started(example: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """One of the examples, running."""
    process = subprocess.Popen(
        [sys.executable, EXAMPLES / example, *arguments],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_two_programs_share_a_pipe_by_one_line():
    with started("pipe_listen.py") as host:
        assert host.stdout is not None
        invitation = host.stdout.readline().strip()
        assert invitation.startswith("securerelay://127.0.0.1:")
        with started("pipe_join.py", invitation) as guest:
            shown, complaints = guest.communicate(timeout=PATIENCE)
            assert (shown, complaints, guest.returncode) == ("hello through the pipe\n", "", 0)
        _, complaints = host.communicate(timeout=PATIENCE)
        assert (complaints, host.returncode) == ("", 0)


def test_the_peer_in_ten_lines_is_ten_lines_long():
    lines = (EXAMPLES / "hello.py").read_text(encoding="utf-8").splitlines()
    body = lines[lines.index("async def main(reactor, profile, friend):") :]
    assert body.index('if __name__ == "__main__":') <= 10
