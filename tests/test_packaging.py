"""The metadata say what is in the tree, and the built wheel holds what an installation needs."""

from __future__ import annotations

import configparser
import pathlib
import re
import subprocess
import sys
import zipfile

import pytest

import securerelay
from tests.checkout import copy_sources

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="module")
def metadata() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, as it is built from a clone."""
    copy = copy_sources(tmp_path_factory.mktemp("wheel") / "sources")
    out = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps"]
    done = subprocess.run(
        [*pip, "--wheel-dir", str(out), str(copy)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return zipfile.ZipFile(next(out.glob("*.whl")))


def test_every_package_of_the_tree_is_listed(metadata: configparser.ConfigParser):
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / "securerelay").rglob("*.py")
    }
    listed = metadata["options"]["packages"].split()
    assert sorted(found | {"twisted.plugins"}) == listed


def test_every_package_says_in_its_docstring_what_it_offers(metadata: configparser.ConfigParser):
    for package in metadata["options"]["packages"].split():
        if package != "twisted.plugins":
            init = ROOT.joinpath(*package.split("."), "__init__.py")
            assert init.is_file(), f"{package} has no __init__.py"
            assert init.read_text(encoding="utf-8").startswith('"""'), package


def test_twisted_plugins_holds_the_plugin_and_no_init_file():
    assert not (ROOT / "twisted" / "__init__.py").exists()
    assert {path.name for path in (ROOT / "twisted" / "plugins").glob("*.py")} == {
        "securerelay_plugin.py"
    }


def test_the_package_dir_keeps_its_two_lines(metadata: configparser.ConfigParser):
    """On one line an editable installation loses the plugin, and only twistd shows it."""
    assert metadata["options"]["package_dir"] == "\n= ."


def test_every_dependency_has_a_lower_bound():
    done = subprocess.run(
        [sys.executable, "tools/floors.py"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^cryptography == 50$", done.stdout, re.MULTILINE)


def test_the_wheel_holds_every_module_the_plugin_and_the_type_marker(wheel: zipfile.ZipFile):
    inside = set(wheel.namelist())
    expected = {
        str(path.relative_to(ROOT))
        for folder in ("securerelay", "twisted")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert expected | {"securerelay/py.typed"} <= inside


def test_the_wheel_overwrites_no_file_of_twisted(wheel: zipfile.ZipFile):
    twisted = {name for name in wheel.namelist() if name.startswith("twisted/")}
    assert twisted == {"twisted/plugins/securerelay_plugin.py"}


def test_the_wheel_carries_its_version_its_licence_and_the_command(wheel: zipfile.ZipFile):
    info = f"securerelay-{securerelay.__version__}.dist-info"
    inside = wheel.namelist()
    assert any(name.startswith(info) and name.endswith("LICENSE") for name in inside)
    points = wheel.read(f"{info}/entry_points.txt").decode()
    assert "securerelay = securerelay.cli:main" in points


def test_the_change_log_opens_with_the_version_of_the_package():
    text = (ROOT / "CHANGELOG.rst").read_text(encoding="utf-8")
    versions = re.findall(r"^(\d+\.\d+\.\d+)", text, re.MULTILINE)
    assert versions[0] == securerelay.__version__
