"""Each test that asks for ``store`` runs with every kind of store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from securerelay.store.interface import Store
from securerelay.store.memory import MemoryStore
from tests.store.samples import on_disk, result


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An open store with nothing in it; its epoch is 1."""
    made: Store = MemoryStore() if request.param == "memory" else on_disk(tmp_path)
    assert result(made.open()).epoch == 1
    yield made
    result(made.close())
