"""What every test may rely on."""

from __future__ import annotations

import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="session")
def root() -> pathlib.Path:
    """The checkout."""
    return ROOT


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """No test sees the profiles or settings of the person who runs it, or leaves any behind."""
    for variable in ("SECURERELAY_PROFILE", "STATE_DIRECTORY", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no core waits for another at the end."""
    items.sort(key=lambda item: item.path.parent.name not in ("end_to_end", "hostile"))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their length: keys and shares are new in every process, names must not be."""
    return f"{argname}-{len(val)}" if isinstance(val, bytes) else None
