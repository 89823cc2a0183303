"""A village for every test."""

from __future__ import annotations

import pathlib

import pytest

from tests.client.sealing.village import Village


@pytest.fixture
def village(tmp_path: pathlib.Path) -> Village:
    """A relay in memory, and nobody there yet."""
    return Village(tmp_path)
