"""What was accepted on the sender's machine arrives once, whatever dies meanwhile: real processes,
a real relay.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from securerelay.client.sealing.trust import Trust
from securerelay.client.state import State
from securerelay.identity.profile import Profile
from tests.end_to_end.daemon import PATIENCE, Daemon, environment, wait_until
from tests.end_to_end.people import COMMAND, Person, Running, enrol
from tests.relay.folders import copy_folder

SMALL = ("--key-bits", "2048")
MOST = 45
"""Messages of each of 20 programs: in all less than a tenth of a mailbox, which is what one sender
may leave in it, for on a slow machine everything leaves in the end at once.
"""
PROGRAM = Path(__file__).parent / "outbox.py"


class Place:
    """A relay that can be stopped and started again at the same address, and two people."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        copy_folder(folder / "data")
        self.relay = Daemon.start(folder)
        self.port = self.relay.port
        self.alice = enrol(self.relay.data, folder, "alice", *SMALL)
        self.bob = enrol(self.relay.data, folder, "bob", *SMALL)

    def start(self) -> None:
        self.relay = Daemon.start(self.folder, "--port", f"tcp:{self.port}:interface=127.0.0.1")

    def kill(self) -> None:
        self.relay.signal(signal.SIGKILL)
        self.relay.process.wait(PATIENCE)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("outbox"))
    yield place
    place.relay.stop()


def texts(bob: Person, count: int) -> list[str]:
    """Have Bob take so many messages, and see that no more come."""
    got = bob.must("listen", "--count", str(count), "--timeout", "60", "--json").records
    more = bob.must("listen", "--timeout", "0.3", "--json").records
    assert more == []
    return [record["text"] for record in got]


def states_of(person: Person) -> list[str]:
    """What has become of all that a person has sent."""
    records = person.must("sent", "--count", "100000", "--json").records
    return [record["state"] for record in records]


class Program:
    """The program of this test, running; ``lines`` is what it has said."""

    def __init__(self, *words: str | Path) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, PROGRAM, *map(str, words)],
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith("\n"):
                self.lines.append(line.rstrip("\n"))

    def kill(self) -> list[str]:
        self.process.kill()
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return self.lines


@contextlib.contextmanager
def program(*words: str | Path) -> Iterator[Program]:
    running = Program(*words)
    try:
        yield running
    finally:
        running.kill()


def test_a_message_sent_while_the_relay_is_away_arrives_when_it_is_back(place: Place):
    alice, bob = place.alice, place.bob
    place.kill()
    away = alice.run("send", "bob", "one", "--json")
    assert (away.status, away.error) == (3, "connect")
    assert "stays in the outbox" in json.loads(away.err)["message"]
    (queued,) = alice.must("send", "bob", "two", "--queue", "--json").records
    assert queued["state"] == "queued"
    alice.must("send", "bob", "--lines", "--queue", given="three\nfour\n")
    assert [line.split("  ")[-1] for line in alice.must("sent").out.splitlines()] == ["queued"] * 4
    place.start()
    alice.must("send", "bob", "five")
    assert sorted(texts(bob, 5)) == ["five", "four", "one", "three", "two"]
    assert states_of(alice) == ["accepted"] * 5


def test_what_was_accepted_arrives_although_the_relay_was_killed_since(place: Place):
    assert place.alice.must("send", "bob", "kept").out == "accepted by the relay\n"
    place.kill()
    place.start()
    assert texts(place.bob, 1) == ["kept"]


def test_a_program_that_runs_all_the_time_sends_what_others_queue(place: Place):
    with place.alice.running("listen", "--json"):
        place.alice.must("send", "bob", "soon", "--queue")
        assert texts(place.bob, 1) == ["soon"]


def test_flushing_sends_what_is_left_and_hears_receipts(place: Place):
    alice, bob = place.alice, place.bob
    late = alice.run("send", "bob", "x", "--wait", "delivered", "--timeout", "1", "--json")
    assert (late.status, late.error) == (7, "timeout")
    assert "the relay has it" in json.loads(late.err)["message"]
    assert texts(bob, 1) == ["x"]
    alice.must("send", "bob", "y", "--queue")
    assert alice.must("flush").out == "messages still in the outbox: 0\n"
    assert states_of(alice)[-2:] == ["delivered", "accepted"]
    assert texts(bob, 1) == ["y"]


def expect_keys(alice: Person, more: int) -> None:
    """Have Alice know of keys of Bob's that are newer, by a number, than what the relay has."""
    with Trust(Profile.open(alice.profiles / "alice")) as trust:

        def job(state: State) -> None:
            bob = trust._vault.contact(state, "bob")
            assert bob is not None
            pin = replace(bob.pin, number=bob.pin.number + more)
            trust._vault.save_contact(state, replace(bob, pin=pin, bundle=None, fetched=0))

        trust._run(job)


def test_flushing_tells_what_stays_for_want_of_keys(place: Place):
    alice, bob = place.alice, place.bob
    alice.must("send", "bob", "a")
    expect_keys(alice, 1_000_000)
    for text in ("b", "c"):
        alice.must("send", "bob", text, "--queue")
    flushed = alice.run("flush")
    assert (flushed.status, flushed.out) == (9, "messages still in the outbox: 2\n")
    assert "the relay serves old keys of bob" in flushed.err
    expect_keys(alice, -1_000_000)
    assert alice.must("flush").out == "messages still in the outbox: 0\n"
    assert texts(bob, 3) == ["a", "b", "c"]


def test_a_key_makes_sending_again_harmless(place: Place):
    alice, bob = place.alice, place.bob
    place.kill()
    assert alice.run("send", "bob", "paid", "--once", "invoice 7").status == 3
    place.start()
    for _ in range(3):
        alice.must("send", "bob", "paid", "--once", "invoice 7")
    other = alice.run("send", "bob", "unpaid", "--once", "invoice 7", "--json")
    assert other.status == 1
    assert "another message" in json.loads(other.err)["message"]
    with bob.running("listen", "--json") as listening:
        (done,) = alice.must(
            "send", "bob", "paid", "--once", "invoice 7", "--wait", "delivered", "--json"
        ).records
        listening.wait_for('"text":"paid"')
    assert done["state"] == "delivered"
    assert bob.must("listen", "--timeout", "0.3").out == ""


def shown_by(listener: Running) -> list[str]:
    return [json.loads(line)["text"] for line in list(listener.lines) if line.endswith("}")]


def test_no_message_is_lost_or_doubled_when_the_sender_is_killed_again_and_again(place: Place):
    chance = random.Random(5)
    profile = place.folder / "alice/config/securerelay/alice"
    journaled: list[str] = []
    shown: list[str] = []
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(place.bob.running("listen", "--json"))
        for cycle in range(20):
            if cycle == 7:
                place.kill()
            if cycle == 10:
                place.start()
            if cycle in (5, 12, 15):
                listener.process.terminate()
                listener.wait()
                shown += shown_by(listener)
                listener = stack.enter_context(place.bob.running("listen", "--json"))
            with program(profile, f"cycle{cycle}", str(MOST)) as sender:
                enough = chance.randrange(1, MOST)
                wait_until(lambda n=enough, s=sender: len(s.lines) >= n, "it has sent enough")  # type: ignore[misc]
                journaled += sender.kill()
        place.alice.must("flush")
        with contextlib.suppress(AssertionError):
            wait_until(
                lambda: set(journaled) <= {*shown, *shown_by(listener)}, "all of it has arrived"
            )
        listener.process.terminate()
        listener.wait()
        shown += shown_by(listener)
    assert set(journaled) - set(shown) == set()
    assert [text for text, count in Counter(shown).items() if count > 1] == []
    for cycle in range(20):
        numbers = [int(text.split()[1]) for text in shown if text.startswith(f"cycle{cycle} ")]
        assert numbers == sorted(numbers)
    assert set(states_of(place.alice)) <= {"accepted", "delivered"}


def shown_and_killed(bob: Person, enough: int) -> list[str]:
    """Listen into a pipe that is soon full, kill the listener, and tell what it has written."""
    with subprocess.Popen(
        [*COMMAND, "listen", "--json"], cwd=bob.home, env=bob.environment, stdout=subprocess.PIPE
    ) as listener:
        assert listener.stdout is not None
        lines = [listener.stdout.readline() for _ in range(enough)]
        listener.kill()
        lines += listener.stdout.readlines()
    return [json.loads(line)["text"].rstrip(".") for line in lines if line.endswith(b"\n")]


def test_a_listener_that_is_killed_shows_at_most_one_message_again(place: Place):
    given = [f"heard {number}" for number in range(300)]
    place.alice.must(
        "send", "bob", "--lines", given="\n".join(text.ljust(2000, ".") for text in given)
    )
    shown: list[str] = []
    kills = 0
    while len(set(shown)) < len(given):
        again = shown_and_killed(place.bob, min(50, len(given) - len(set(shown))))
        assert set(again) & set(shown) <= set(shown[-1:])
        shown += again
        kills += 1
    place.alice.must("send", "bob", "enough")
    while shown[-1] != "enough":
        (record,) = place.bob.must("listen", "--count", "1", "--timeout", "60", "--json").records
        again = record["text"].rstrip(".")
        assert again in (shown[-1], "enough")
        shown.append(again)
    assert list(dict.fromkeys(shown)) == [*given, "enough"]
    assert kills > 2


def test_two_programs_of_one_profile_send_at_once(place: Place):
    texts_given = [[f"{name} {number}" for number in range(300)] for name in ("left", "right")]
    threads = [
        threading.Thread(
            target=place.alice.must,
            args=("send", "bob", "--lines"),
            kwargs={"given": "".join(f"{text}\n" for text in given)},
        )
        for given in texts_given
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    got = texts(place.bob, 600)
    for given in texts_given:
        assert [text for text in got if text in set(given)] == given


def test_a_damaged_state_is_told_in_one_line_and_left_as_it_is(place: Place):
    path = place.folder / "carl"
    carl = enrol(place.relay.data, place.folder, "carl", *SMALL)
    state = path / "config/securerelay/carl/state.sqlite"
    state.write_bytes(b"something else")
    state.chmod(0o600)
    for words in (("send", "bob", "x"), ("listen", "--count", "1"), ("sent",)):
        refused = carl.run(*words)
        assert refused.status == 1
        assert refused.err == (
            f"securerelay: {state} is not a database of SecureRelay; it is left as it is\n"
        )
    assert state.read_bytes() == b"something else"
    assert carl.must("who").out
