"""One relay for each module of attacks, looked at after every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hostile import independent as sr1
from tests.hostile.siege import Siege, besieged


@pytest.fixture(scope="module")
def besieged_relay(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Siege]:
    """The relay of this module; the module may add to its configuration as ``CONFIGURATION``."""
    configuration = getattr(request.module, "CONFIGURATION", "")
    with besieged(tmp_path_factory.mktemp("siege"), configuration) as siege:
        yield siege


@pytest.fixture
def siege(besieged_relay: Siege) -> Iterator[Siege]:
    """The relay; it must have taken no harm once the test is over."""
    yield besieged_relay
    besieged_relay.check()


@pytest.fixture
def client(siege: Siege) -> sr1.Client:
    """A session of its own for the test."""
    return siege.enter(siege.canary)
