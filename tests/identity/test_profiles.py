"""Which profile is meant."""

from __future__ import annotations

import pathlib

import pytest

from securerelay.errors import ProfileError
from securerelay.identity import profiles


@pytest.fixture
def environ(tmp_path):
    return {"XDG_CONFIG_HOME": str(tmp_path)}


def make(tmp_path, *names):
    for name in names:
        folder = tmp_path / "securerelay" / name
        folder.mkdir(parents=True)
        (folder / profiles.FILE).touch()


def test_profiles_live_in_the_configuration_folder(tmp_path, environ):
    home = pathlib.Path.home() / ".config" / "securerelay"
    assert profiles.base_folder(environ) == tmp_path / "securerelay"
    assert profiles.base_folder({}) == home
    assert profiles.base_folder({"XDG_CONFIG_HOME": "relative"}) == home


def test_the_only_profile_need_not_be_named(tmp_path, environ):
    make(tmp_path, "work")
    (tmp_path / "securerelay" / "empty").mkdir()
    assert profiles.listed(environ) == ["work"]
    assert profiles.find(environ=environ) == tmp_path / "securerelay" / "work"


def test_one_of_several_must_be_named(tmp_path, environ):
    make(tmp_path, "work", "home")
    with pytest.raises(ProfileError, match="say which profile to use, as with --profile: home"):
        profiles.find(environ=environ)
    assert profiles.find("work", environ).name == "work"
    assert profiles.find(environ={**environ, "SECURERELAY_PROFILE": "home"}).name == "home"
    assert profiles.find("work", {**environ, "SECURERELAY_PROFILE": "home"}).name == "work"


def test_a_path_has_a_slash(tmp_path, environ):
    (tmp_path / profiles.FILE).touch()
    assert profiles.find(f"{tmp_path}/", environ) == tmp_path
    assert profiles.folder_of("./x", environ) == pathlib.Path("x")
    assert profiles.folder_of("~/x", environ) == pathlib.Path.home() / "x"


def test_what_is_not_there_is_told(tmp_path, environ):
    with pytest.raises(ProfileError, match="you have no profile yet"):
        profiles.find(environ=environ)
    with pytest.raises(ProfileError, match=r"no profile in .*: securerelay join makes one"):
        profiles.find("work", environ)


@pytest.mark.parametrize("name", ["..", ".hidden", "A", "a b"])
def test_a_name_cannot_lead_out_of_the_folder(environ, name):
    with pytest.raises(ProfileError, match="neither the name of a profile nor a path"):
        profiles.folder_of(name, environ)
