"""Where an option comes from: command line, environment, the profile's file, the machine's file."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest

from securerelay.cli import config
from securerelay.cli.options import Common, Verb
from tests.cli.conftest import Run


@pytest.fixture(autouse=True)
def probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """A verb that tells its options; it stands in for ``config``."""

    @click.command(cls=Verb, data=True)
    @click.option("--color", type=click.Choice(["red", "green", "blue", "grey"]), default="grey")
    @click.option("--groups")
    @click.argument("argument", default="")
    @click.pass_obj
    def command(common: Common, color: str, groups: str | None, argument: str) -> None:
        facts = {"color": color, "groups": groups, "profile": common.profile, "data": common.data}
        common.out.say(facts, "{color} {groups} {profile} {data}")

    monkeypatch.setattr(config, "command", command)


@pytest.fixture
def system(no_system_settings: Path) -> Path:
    return no_system_settings


@pytest.fixture
def profile() -> Path:
    """A folder that counts as the user's only profile."""
    folder = Path(os.environ["XDG_CONFIG_HOME"]) / "securerelay" / "work"
    folder.mkdir(parents=True)
    (folder / "profile.json").write_text("{}")
    return folder


def test_what_nobody_says_has_its_default(run: Run):
    assert run("config").out == "grey - - -\n"


def test_the_machines_file_is_the_last_to_be_asked(
    run: Run, system: Path, profile: Path, monkeypatch: pytest.MonkeyPatch
):
    system.write_text('data = "/srv"\n[config]\ncolor = "red"\n')
    assert run("config").out == "red - - /srv\n"
    (profile / "client.toml").write_text('[config]\ncolor = "green"\n')
    assert run("config").out == "green - - /srv\n"
    monkeypatch.setenv("SECURERELAY_CONFIG_COLOR", "blue")
    monkeypatch.setenv("SECURERELAY_DATA", "/env")
    assert run("config").out == "blue - - /env\n"
    assert run("config", "--color", "grey", "--data", "/flag").out == "grey - - /flag\n"


def test_a_file_can_choose_the_profile_whose_file_is_read(run: Run, system: Path, profile: Path):
    other = profile.parent / "other"
    other.mkdir()
    (other / "profile.json").write_text("{}")
    (other / "client.toml").write_text('[config]\ncolor = "blue"\n')
    assert run("config").out == "grey - - -\n"
    system.write_text('profile = "other"\n')
    assert run("config").out == "blue - other -\n"
    assert run("config", "--profile", "work").out == "grey - work -\n"
    assert run("--profile", "work", "config").out == "grey - work -\n"


def test_a_file_can_ask_for_json(run: Run, system: Path):
    system.write_text("json = true\n")
    assert run("config").records[0]["color"] == "grey"


def test_options_of_many_verbs_can_be_set_once(run: Run, system: Path):
    system.write_text('groups = "a,b"\n')
    assert run("config").out == "grey a,b - -\n"
    system.write_text('groups = "a,b"\n[config]\ngroups = "c"\n')
    assert run("config").out == "grey c - -\n"


def test_another_file_can_be_named(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "mine.toml"
    path.write_text('[config]\ncolor = "red"\n')
    monkeypatch.setenv("SECURERELAY_CLIENT_CONFIG", str(path))
    assert run("config").out == "red - - -\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("x = 1", "unknown key 'x'; allowed are json, profile, data"),
        ("json = 1", "json must be a boolean"),
        ("profile = true", "profile must be a string"),
        ("config = 1", "config is a verb, so it must be a table: [config]"),
        ("[config]\nshape = 1", "[config] shape: unknown; allowed are color, groups"),
        ("[config]\nargument = 'x'", "[config] argument: unknown"),
        ('[config]\ncolor = "pink"', "[config] color: 'pink' is not one of"),
        ("]", ":"),
        ("\xff", ":"),
    ],
)
def test_what_a_file_cannot_say_is_told_with_the_files_name(
    run: Run, system: Path, content: str, says: str
):
    system.write_bytes(content.encode("latin-1"))
    ran = run("config")
    assert ran.status == 1
    assert ran.err.startswith(f"securerelay: {system}")
    assert says in ran.err
    assert ran.err.count("\n") == 1
    assert run("config", "--json").error["error"] == "config"


def test_a_file_that_cannot_be_read_is_told(run: Run, system: Path):
    system.mkdir()
    ran = run("config")
    assert (ran.status, "Is a directory" in ran.err) == (1, True)


def test_help_works_whatever_the_files_say(run: Run, system: Path):
    system.write_text("]")
    assert run("--help").status == 0
    assert run("config", "--help").status == 0


def test_who_to_be_and_the_verb_of_that_name_get_along(
    run: Run, no_system_settings: Path, tmp_path: Path
):
    (tmp_path / "settings").write_text("")
    no_system_settings.write_text('profile = "./none"\npassphrase_file = "/of/the/key"\n')
    ran = run("profile", "import", str(tmp_path / "settings"), "--json")
    assert ran.error["error"] == "wrong-passphrase"
