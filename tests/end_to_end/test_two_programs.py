"""Two programs with one profile send as much as they can at once: real processes, a real relay."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.end_to_end.daemon import environment, running
from tests.end_to_end.people import enrol
from tests.relay.folders import copy_folder

PROGRAM = Path(__file__).parent / "pour.py"
COUNT = 5000
CONFIGURATION = """
listen = ["tcp:0:interface=127.0.0.1"]
data = "{data}"
[limits]
mailbox_messages = 20000
mailbox_sender_percent = 100
"""


def program(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, PROGRAM, *map(str, words)],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )


def test_5000_messages_from_each_of_two_programs_arrive_once_and_in_order(tmp_path: Path):
    data = tmp_path / "data"
    copy_folder(data)
    (tmp_path / "relay.toml").write_text(CONFIGURATION.format(data=data))
    with running(tmp_path, "--config", tmp_path / "relay.toml") as relay:
        folders = []
        for name in ("alice", "bob"):
            enrol(relay.data, tmp_path, name, "--key-bits", "2048")
            folders.append(tmp_path / name / "config/securerelay" / name)
        alice, bob = folders
        taking = program(bob, "take", 2 * COUNT)
        senders = [program(alice, "send", "bob", word, COUNT) for word in ("left", "right")]
        told = [sender.communicate()[0] for sender in senders]
        taken = taking.communicate()[0].splitlines()
    assert told == ["", ""], "nothing was refused"
    assert [line for line in taken if line.startswith("notice")] == []
    assert [text for text, count in Counter(taken).items() if count > 1] == []
    for word in ("left", "right"):
        numbers = [int(text.split()[1]) for text in taken if text.startswith(word)]
        assert numbers == list(range(1, COUNT + 1))
