"""The programs that the documentation shows do what it says."""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
import sys
from collections.abc import Iterator

from tests.end_to_end.daemon import PATIENCE, environment, running
from tests.relay.folders import copy_folder

ROOT = pathlib.Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "docs" / "examples"


def home_of(folder: pathlib.Path) -> dict[str, str]:
    """An environment whose profiles are kept in a folder."""
    return {**environment(), "XDG_CONFIG_HOME": str(folder / "config")}


@contextlib.contextmanager
def started(
    example: str, *arguments: str, home: pathlib.Path = ROOT
) -> Iterator[subprocess.Popen[str]]:
    """One of the examples, running."""
    process = subprocess.Popen(
        [sys.executable, EXAMPLES / example, *arguments],
        env=home_of(home),
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


def securerelay(home: pathlib.Path, *words: str, given: str = "") -> str:
    """Run the command and give what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "securerelay", *words],
        env=home_of(home),
        input=given,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


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


def test_the_peer_in_ten_lines_sends_and_hears(tmp_path: pathlib.Path):
    lines = (EXAMPLES / "hello.py").read_text(encoding="utf-8").splitlines()
    body = lines[lines.index("async def main(reactor, profile, friend):") :]
    assert body.index('if __name__ == "__main__":') <= 10
    with running(tmp_path, like=copy_folder(tmp_path / "made")) as relay:
        for name in ("alice", "bob"):
            invitation = relay.admin("invite", name=name)["uri"]
            securerelay(tmp_path, "join", "-", given=invitation)
        with started("hello.py", "alice", "bob", home=tmp_path) as alice:
            heard = securerelay(tmp_path, "listen", "--count", "1", "--profile", "bob")
            assert heard.endswith("alice: hello from a program\n")
            securerelay(tmp_path, "send", "alice", "hello from bob", "--profile", "bob")
            shown, complaints = alice.communicate(timeout=PATIENCE)
            assert (shown, complaints, alice.returncode) == ("bob says hello from bob\n", "", 0)


def commands_of_the_readme() -> list[str]:
    """The commands under its heading, without what is told beside them."""
    text = (ROOT / "README.rst").read_text(encoding="utf-8")
    block = text.partition("From nothing to the first message\n")[2].partition("::\n")[2]
    lines = block.partition("\n\nThe relay made")[0].splitlines()
    return [line.partition("  #")[0].strip() for line in lines if line.strip()]


def test_the_readme_leads_to_a_first_message_in_five_commands(tmp_path: pathlib.Path):
    install, start, *rest = commands_of_the_readme()
    assert (install, start) == ("pip install .", "twistd -n securerelay --port 3000")
    assert len(rest) == 3
    # The usual folder of a user who is not root.
    data = tmp_path / "data"
    with running(tmp_path, like=copy_folder(tmp_path / "made")):
        scripts = tmp_path / "bin"
        scripts.mkdir()
        script = scripts / "securerelay"
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -m securerelay "$@"\n')
        script.chmod(0o755)
        home = home_of(tmp_path)
        home["PATH"] = f"{scripts}:{home['PATH']}"
        home["SECURERELAY_DATA"] = home["STATE_DIRECTORY"] = str(data)
        shown = ""
        for line in rest:
            done = subprocess.run(
                ["sh", "-c", line],
                cwd=tmp_path,
                env=home,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            assert done.returncode == 0, f"{line}: {done.stderr}"
            shown += done.stdout
        assert shown.endswith("alice: Hello, Bob\n")
