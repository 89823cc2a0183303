"""What breaks around a relay, and what its peers notice of it: nothing, or the truth."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from securerelay.protocol import messages
from securerelay.store import database
from tests.end_to_end.daemon import PATIENCE, environment
from tests.end_to_end.relays import Relay, relay_of
from tests.end_to_end.speaker import Speaker, save

STREAM = b"s" * 22
MIB = 1 << 20


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk of so many bytes."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "none", folder],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def send_until_refused(ann: Speaker, seq: int, size: int) -> int:
    """Send to ben, who is not here, until that is refused; return the seq that was."""
    while True:
        ann.say(messages.send(seq, b"ben", None, False, bytes(size)))
        verdict = ann.wait_any("ok", "no")
        if verdict[0] == "no":
            assert verdict == ("no", seq, b"storage-full")
            return seq
        assert verdict == ("ok", seq)
        seq += 1


def test_a_full_disk_refuses_what_is_sent_serves_the_rest_and_recovers_by_itself(
    tmp_path: Path,
) -> None:
    with (
        small_disk(tmp_path / "disk", "64m") as disk,
        relay_of(tmp_path, "ann", "ben", data=disk / "data") as relay,
    ):
        ann = relay.join("ann")
        ann.say(messages.stream(STREAM, 0))
        ann.wait("stream")
        refused = send_until_refused(ann, 1, 256_000)
        assert refused > 50
        assert relay.admin("status")["storage"] == "failing"
        # Those who are here are served; who comes now comes in.
        ben = relay.join("ben")
        ben.say(messages.listen(0))
        first, last = ben.wait("listen")
        assert first <= last
        for wanted in range(1, 41):
            number, *_, seq, _, body = ben.wait("msg")
            assert (seq, len(body)) == (wanted, 256_000)
            ben.say(messages.ack(number))
        # The room that the acknowledgement made is used, without a restart.
        relay.wait(lambda: send_once(ann, refused)[0] == "ok", "there is room again")
        assert relay.admin("status")["storage"] == "ok"
        for seq in range(41, refused + 1):
            number, *_, came, _, _ = ben.wait("msg")
            assert came == seq
            ben.say(messages.ack(number))

        def empty() -> bool:
            ben.say(messages.listen(number))
            first, last = ben.wait("listen")
            return bool(first > last)

        relay.wait(empty, "nothing is kept any more")


def test_a_disk_that_somebody_else_filled_is_used_again_when_there_is_room(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk", "64m") as disk,
        relay_of(tmp_path, "ann", "ben", data=disk / "data") as relay,
    ):
        ann = relay.join("ann")
        ann.say(messages.stream(STREAM, 0))
        with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(4096)):
                pass
        refused = send_until_refused(ann, 1, 64_000)
        (disk / "filler").unlink()
        assert send_once(ann, refused) == ("ok", refused)
        relay.kill()
        relay.start()
        ben = relay.join("ben")
        ben.say(messages.listen(0))
        assert [ben.wait("msg")[4] for _ in range(refused)] == list(range(1, refused + 1))


def send_once(ann: Speaker, seq: int) -> tuple[object, ...]:
    ann.say(messages.send(seq, b"ben", None, False, b"again"))
    return ann.wait_any("ok", "no")


@contextlib.contextmanager
def program(relay: Relay, name: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A peer that listens in a process of its own."""
    folder = relay.folder / name
    folder.mkdir()
    save(folder, relay.relay_id, relay.certificates[name])
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.end_to_end.speaker", str(relay.port), str(folder)],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        yield process, folder / "heard"
    finally:
        process.kill()
        process.wait(PATIENCE)
        assert process.stdout is not None
        process.stdout.close()


def stop_a_listener(tmp_path: Path, total: int, size: int = 65_536) -> int:
    """Send to a listener that is stopped, and let him go on.

    Args:
        tmp_path: where.
        total: bytes to send.
        size: of each message.

    Returns:
        By how many bytes the relay's memory grew at most.
    """
    with relay_of(tmp_path, "ann", "ben", "cat") as relay, program(relay, "ben") as (ben, heard):
        ann, cat = relay.join("ann"), relay.join("cat")
        cat.say(messages.stream(b"c" * 22, 0), messages.listen(0))
        cat.wait("listen")
        ann.say(messages.stream(STREAM, 0))
        body = bytes(size)
        seq = most = 0

        def send(count: int) -> None:
            nonlocal seq
            for _ in range(count):
                seq += 1
                ann.say(messages.send(seq, b"ben", None, False, body))
            ann.wait("ok", seq)

        for _ in range(8):  # what any traffic needs, once
            send(32)
        before = relay.memory()
        os.kill(ben.pid, signal.SIGSTOP)
        for turn in range(total // size // 16):
            send(16)
            most = max(most, relay.memory())
            # Others do not notice.
            cat.say(messages.send(turn + 1, b"cat", None, False, b"hello"))
            number, *_ = cat.wait("msg")
            cat.say(messages.ack(number))
            cat.wait("ok", turn + 1)
        os.kill(ben.pid, signal.SIGCONT)
        relay.wait(lambda: heard.read_text().count("\n") >= seq, "everything came")
        lines = [line.split() for line in heard.read_text().splitlines()]
        assert lines == [[str(n), str(size)] for n in range(1, seq + 1)]
        return most - before


def test_a_stopped_listener_costs_little_memory_and_loses_nothing(tmp_path: Path) -> None:
    assert stop_a_listener(tmp_path, 64 * MIB) <= 16 * MIB


def here(speaker: Speaker) -> set[str]:
    """Who is connected, as somebody is told."""
    return {peer["peer"] for peer in speaker.call("peer.list", online=True)["peers"]}


def test_nobody_is_shown_who_was_killed_nor_after_the_relay_was(tmp_path: Path) -> None:
    with relay_of(tmp_path, "ann", "ben", "cat") as relay:
        ann, cat = relay.join("ann"), relay.join("cat")
        with program(relay, "ben") as (ben, _):
            assert here(ann) == {"ann", "ben", "cat"}
            ben.kill()
            ben.wait(PATIENCE)
            relay.wait(lambda: here(ann) == {"ann", "cat"}, "ben is gone")
        relay.kill()
        relay.start()
        ann = relay.join("ann")
        assert here(ann) == {"ann"}
        cat.close()


def test_a_killed_relay_leaves_its_folder_to_the_next_and_a_running_one_to_nobody(
    tmp_path: Path,
) -> None:
    with relay_of(tmp_path, "ann") as relay:
        second = relay.nursery.start(
            tmp_path, "--data", relay.data, "--port", "tcp:0:interface=127.0.0.1"
        )
        relay.wait(lambda: relay.nursery.ended(second) is not None, "the second one gives up")
        assert relay.nursery.ended(second) == 1
        assert "is running on" in relay.log
        relay.join("ann").close()
        relay.kill()
        relay.start()
        relay.join("ann").close()


def tickets_on_disk(relay: Relay) -> int:
    """How many tickets would outlive a crash."""
    with contextlib.closing(database.connect(relay.data / "relay.sqlite", "mode=ro")) as db:
        (count,) = db.execute("SELECT count(*) FROM ticket").fetchone()
    return int(count)


def test_everybody_comes_back_at_once_after_a_crash(tmp_path: Path) -> None:
    names = [f"peer{number}" for number in range(40)]
    with relay_of(tmp_path, *names) as relay:
        first = [relay.join(name) for name in names * 5]
        open_files = relay.descriptors()
        given = sum(len(speaker.greeting.tickets) for speaker in first if speaker.greeting)
        relay.wait(lambda: tickets_on_disk(relay) == given, "the tickets are on disk")
        relay.kill()
        relay.start()
        again = []
        for number, speaker in enumerate(first):
            assert speaker.greeting is not None
            ticket = speaker.greeting.tickets[0] if number % 2 else None
            again.append(relay.begin(names[number % len(names)], ticket))
            speaker.close()
        for number, speaker in enumerate(again):
            greeting = speaker.welcomed().greeting
            assert greeting is not None
            assert greeting.resumed == bool(number % 2)
        assert here(again[0]) == set(names)
        assert relay.admin("status")["sessions"] == len(again)
        assert relay.descriptors() <= open_files + 5
        for speaker in again:
            speaker.close()
        relay.wait(lambda: relay.admin("status")["sessions"] == 0, "all are gone")
