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


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their length: keys and shares are new in every process, names must not be."""
    return f"{argname}-{len(val)}" if isinstance(val, bytes) else None
