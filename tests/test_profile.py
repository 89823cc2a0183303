"""Where a relay's time goes: which loads can be watched, and what drawing it takes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks import profile
from benchmarks.compare.patterns import PATTERNS


def test_what_measures_cpu_time_can_be_watched_alone_and_as_it_is_compared() -> None:
    known = profile.known()
    assert {"live", "room", "handshakes", "pair-1", "loop-2000", "away", "resumed"} <= set(known)
    assert not {"idle", "idle-5000", "p50", "p99", "micro", "help"} & set(known)
    assert set(profile._NO_CPU) - {"help", "micro"} <= set(PATTERNS)


def test_a_flame_graph_without_py_spy_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *args, **kwargs: None)
    with pytest.raises(SystemExit) as said:
        profile.main(["pair-1", "--flame", str(tmp_path / "flame.svg")])
    assert said.value.code == "a flame graph takes py-spy: pip install py-spy"
