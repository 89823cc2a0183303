"""SecureRelay installed elsewhere is known to twistd, to twist and to the shell."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

import securerelay
from tests.checkout import copy_sources

# The scripts come with Twisted, which a borrowing environment does not install again.
TWISTD = "from twisted.scripts.twistd import run; run()"
TWIST = "from twisted.application.twist._twist import Twist; Twist.main()"


def run(*command: str | pathlib.Path) -> str:
    """Run a command in the root folder and give what it prints.

    From the checkout Python would import the checkout and hide what the installation lacks.
    """
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "PYTHONHOME"}}
    done = subprocess.run(
        [str(part) for part in command],
        cwd="/",
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def new_environment(folder: pathlib.Path) -> pathlib.Path:
    """A new virtual environment that borrows this one's dependencies and nothing else.

    Returns:
        Its folder of commands.
    """
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    theirs = pathlib.Path(run(folder / "bin" / "python", "-c", where).strip())
    # A path given in a .pth file has no .pth files of its own read: the editable installation of
    # the checkout stays behind.
    borrowed = {where, where.replace("purelib", "platlib")}
    lines = {run(sys.executable, "-c", program).strip() for program in borrowed}
    (theirs / "borrowed.pth").write_text("\n".join(sorted(lines)) + "\n", encoding="utf-8")
    return folder / "bin"


@pytest.fixture(scope="module", params=["wheel", "editable"])
def commands(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    """The commands of a new environment with SecureRelay in it, installed one way or the other."""
    folder = tmp_path_factory.mktemp(request.param)
    sources = copy_sources(folder / "sources")
    environment = new_environment(folder / "environment")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    if request.param == "wheel":
        run(*pip, "wheel", "--no-deps", "--wheel-dir", folder, sources)
        what = [str(next(folder.glob("*.whl")))]
        # Nothing may be found through the place it was built in.
        sources.rename(folder / "elsewhere")
    else:
        what = ["--editable", str(sources)]
    run(*pip, "--python", environment / "python", "install", "--no-deps", *what)
    return environment


@pytest.mark.parametrize("program", [TWISTD, TWIST], ids=["twistd", "twist"])
def test_the_relay_is_among_the_commands(commands: pathlib.Path, program: str):
    shown = run(commands / "python", "-c", program, "--help")
    assert any(line.split()[:1] == ["securerelay"] for line in shown.splitlines()), shown


def test_twistd_shows_the_options_of_the_relay(commands: pathlib.Path):
    shown = run(commands / "python", "-c", TWISTD, "-n", "securerelay", "--help")
    for option in ("--port", "--listen", "--config", "--data"):
        assert option in shown


def test_the_command_line_tells_its_version(commands: pathlib.Path):
    assert securerelay.__version__ in run(commands / "securerelay", "--version")
