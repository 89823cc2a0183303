"""The command as a whole: its overview, its options, its errors."""

from __future__ import annotations

import importlib
import subprocess
import sys

import click
import pytest

from securerelay import __version__, cli, errors
from securerelay.cli import config, entry
from securerelay.cli.exits import Interrupted, ReaderGone
from securerelay.cli.options import Verb
from tests.cli.conftest import Run


def test_help_names_every_verb(run: Run):
    ran = run("--help")
    assert ran.status == 0
    for verb, line in entry.VERBS.items():
        assert verb in ran.out
        assert line in ran.out


def test_the_version_is_told(run: Run):
    assert run("--version").out == f"securerelay, version {__version__}\n"


@pytest.mark.parametrize("verb", entry.VERBS)
def test_every_verb_explains_itself_and_takes_json_and_profile(run: Run, verb: str):
    ran = run(verb, "--help")
    assert ran.status == 0
    module = importlib.import_module(f"securerelay.cli.{verb}")
    commands = (
        module.command.commands.values()
        if isinstance(module.command, click.Group)
        else [module.command]
    )
    for command in commands:
        assert isinstance(command, Verb)
        assert command.help
        names = {name for option in command.params for name in option.opts}
        assert {"--json", "--profile"} <= names


def test_help_costs_no_twisted_and_no_cryptography():
    """Nor does it import any verb: the overview comes from the table."""
    program = (
        "import sys; from securerelay.cli.entry import perform; perform(['--help']);"
        "slow = {'twisted', 'cryptography', 'OpenSSL', 'zope', 'securerelay.cli.send'};"
        "sys.exit(str(slow & set(sys.modules)) if slow & set(sys.modules) else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["fly"],
        ["send"],
        ["send", "--fly", "bob"],
        ["send", "bob", "x", "--wait", "ages"],
        ["send", "bob", "x", "--timeout", "soon"],
        ["send", "bob", "x", "--lines"],
        ["listen", "--count", "0"],
        ["listen", "--exec", "no-such-command-anywhere"],
        ["listen", "--exec", "'unbalanced"],
        ["listen", "--exec", ""],
        ["send", "Bob", "x"],
        ["send", "@Room", "x"],
        ["chat", "../bob"],
        ["revoke", "a b"],
        ["invite", "root"],
        ["init", "--name", "A"],
        ["completion", "tcsh"],
        ["keys", "generate", "f", "--bits", "1024"],
        ["send", "bob", "x", "--groups", "rot13"],
    ],
)
def test_what_cannot_be_meant_is_a_usage_error_in_words_and_in_json(run: Run, arguments: list[str]):
    plain = run(*arguments)
    assert plain.status == 2
    assert plain.out == ""
    assert plain.err
    json = run(*arguments, "--json")
    assert json.status == 2
    assert json.error["error"] in ("usage", "bad-name")
    assert json.error["message"]


def test_json_may_stand_before_the_verb_too(run: Run):
    assert run("--json", "send", "Bob", "x").error["error"] == "bad-name"


def test_json_after_two_hyphens_is_text(run: Run):
    assert run("send", "Bob", "--", "--json").err.startswith("securerelay: 'Bob' is no name")


@pytest.mark.parametrize(
    ("error", "status", "err"),
    [
        (errors.Refused("unknown"), 5, "securerelay: the relay knows no such peer or room\n"),
        (
            errors.Refused("too-large", "11 bytes; at most 10"),
            1,
            "securerelay: the message is larger than the relay takes: 11 bytes; at most 10\n",
        ),
        (errors.ConfigError("f:2: '\\n' \x1b[1m"), 1, "securerelay: f:2: '\\n' \\x1b[1m\n"),
        (errors.TimedOut("too late"), 7, "securerelay: too late\n"),
        (FileNotFoundError(2, "No such file", "/x"), 1, "securerelay: /x: No such file\n"),
        (click.ClickException("hm"), 1, "securerelay: hm\n"),
        (Interrupted(2), 130, ""),
        (Interrupted(15), 143, ""),
        (ReaderGone(), 141, ""),
    ],
)
def test_every_error_is_one_line_and_a_status(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, err: str
):
    def fail() -> None:
        raise error

    monkeypatch.setattr(config, "command", click.Command("config", callback=fail))
    ran = run("config")
    assert (ran.status, ran.err) == (status, err)


@pytest.mark.parametrize("family", ["config", "keys", "log", "profile", "room"])
def test_what_each_verb_of_a_family_does_is_told_whole(run: Run, family: str):
    shown = run(family, "--help").out
    assert "Commands:" in shown
    assert "..." not in shown.partition("Commands:")[2]


def test_ctrl_c_at_a_prompt_is_quiet(run: Run, monkeypatch: pytest.MonkeyPatch):
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(config, "command", click.Command("config", callback=interrupt))
    ran = run("config")
    assert (ran.status, ran.err.strip()) == (130, "")


def test_ctrl_c_before_the_command_is_there_is_quiet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    class Interrupting:
        @staticmethod
        def find_spec(*args: object) -> None:
            raise KeyboardInterrupt

    monkeypatch.delattr(cli, "entry")
    monkeypatch.delitem(sys.modules, "securerelay.cli.entry")
    monkeypatch.setattr(sys, "meta_path", [Interrupting])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(run: Run, shell: str):
    assert "_SECURERELAY_COMPLETE" in run("completion", shell).out
    (record,) = run("completion", shell, "--json").records
    assert record["shell"] == shell
    assert "_SECURERELAY_COMPLETE" in record["script"]


def test_the_shell_completes_verbs_and_their_options(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for words, expected in (("securerelay inv", "invitations"), ("securerelay send --w", "--wait")):
        monkeypatch.setenv("_SECURERELAY_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
        with pytest.raises(SystemExit):
            entry.perform([])
        assert expected in capsys.readouterr().out
