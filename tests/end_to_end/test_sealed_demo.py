"""What ``make demo`` shows is true: the relay keeps and logs nothing of what two peers say.

The demo is played by real processes, and everything that the relay wrote is searched once more.
"""

from __future__ import annotations

import importlib.util
import json
import pathlib
from types import ModuleType

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent


def load_demo() -> ModuleType:
    """Return the program that ``make demo`` runs."""
    spec = importlib.util.spec_from_file_location("securerelay_demo", ROOT / "tools/demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    return load_demo()


def tolerate(stage, *names: str) -> None:
    """Have the relay that will be started take plain messages of somebody or in a room."""
    path = stage.folder / "relay.toml"
    path.write_text(f"[policy]\nplain = {json.dumps(names)}\n")
    stage.options += ["--config", str(path)]


def found(stage, text: str) -> list[str]:
    """The files of the relay in which a text is, as it is or in an encoding of SQLite's."""
    forms = (text.encode(), text.encode("utf-16-le"), text.encode("utf-16-be"))
    return [path.name for path, content in stage.kept() if any(form in content for form in forms)]


def test_the_relay_of_the_demo_has_nothing_of_what_was_said(
    demo: ModuleType, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
):
    open_text: list[str] = []

    class Stage(demo.Demo):
        def search(self) -> None:
            super().search()
            if not open_text:  # the same search finds what is not sealed
                self.run("send", "bob", "open text", "--plain-with", "bob", "--profile", "alice")
                open_text.extend(found(self, "open text"))

    stage = Stage(tmp_path)
    tolerate(stage, "bob")
    demo.play(stage)
    shown = capsys.readouterr().out
    assert len(stage.said) == 3
    for text in stage.said:
        assert text in shown  # its recipient read it
        assert found(stage, text) == []
    assert open_text
    assert "unsealed message in alice's name" in shown
    assert shown.count("nothing said is there") == 4
