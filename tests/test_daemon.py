"""The relay that is measured: none is left behind when it does not start."""

from __future__ import annotations

import subprocess
from typing import Any
from unittest.mock import Mock

import pytest

from benchmarks.daemon import Daemon


def test_a_relay_that_does_not_start_in_time_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Mock(**{"poll.return_value": None, "stderr.read.return_value": b"still at it"})
    process.stderr.fileno.return_value = 2
    monkeypatch.setattr(subprocess, "Popen", Mock(return_value=process))
    monkeypatch.setattr("os.set_blocking", lambda *_: None)
    monkeypatch.setattr("benchmarks.daemon._START_SECONDS", -1)
    daemon: Any = Daemon(key_size=2048)
    with pytest.raises(SystemExit, match="did not start: still at it"), daemon:
        pass
    process.kill.assert_called_once()
    assert not daemon.data.parent.exists()
