"""The command as people use it: a real relay, real processes, every exit status."""

# More than 400 lines: one test for every verb and every exit status of one command.

from __future__ import annotations

import base64
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.end_to_end.daemon import PATIENCE, Daemon, running
from tests.end_to_end.people import COMMAND, Person, Running, enrol
from tests.relay.folders import copy_folder

SMALL = ("--key-bits", "2048")
CONFIG = """
[limits]
mailbox_messages = 20
penalty_acts_from_seconds = 600
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="module")
def relay(place: Path) -> Iterator[Daemon]:
    """One relay for all tests here."""
    (place / "relay.toml").write_text('listen = ["tcp:0:interface=127.0.0.1"]\n' + CONFIG)
    made = copy_folder(place / "made")
    with running(place, "--config", place / "relay.toml", like=made) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def admin(place: Path, relay: Daemon) -> Person:
    return Person(place / "admin", SECURERELAY_DATA=str(relay.data))


@pytest.fixture(scope="module")
def alice(place: Path, relay: Daemon) -> Person:
    return enrol(relay.data, place, "alice", *SMALL)


@pytest.fixture(scope="module")
def bob(place: Path, relay: Daemon) -> Person:
    return enrol(relay.data, place, "bob", *SMALL)


@pytest.fixture
def leaves_mail(bob: Person) -> Iterator[None]:
    """What a test leaves in Bob's mailbox does not meet the next one."""
    yield
    bob.must("listen", "--timeout", "1")


def everyone_is(alice: Person, state: str, name: str) -> None:
    """Wait until a peer is seen in a state."""
    with alice.running("who", "--watch") as watching:
        watching.wait_for(f"{name:<32}  {state}")


# -- messages


def test_a_message_waits_for_its_recipient_and_is_shown(alice: Person, bob: Person):
    assert alice.must("send", "bob", "hello Bob").out == "accepted by the relay\n"
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d alice: hello Bob\n", bob.must("listen", "--count", "1").out
    )
    again = bob.run("listen", "--count", "1", "--timeout", "0.2", "--json")
    assert (again.status, again.error) == (7, "timeout")


def test_a_message_comes_from_the_input_byte_for_byte(alice: Person, bob: Person):
    body = bytes(range(256)) * 100
    alice.must("send", "bob", "-", given=body)
    alice.must("send", "bob", given="no text given\n")
    first, second = bob.must("listen", "--count", "2", "--json").records
    assert first["text"] is None
    assert base64.b64decode(first["base64"]) == body
    assert second["text"] == "no text given\n"


@pytest.mark.usefixtures("leaves_mail")
def test_delivered_means_that_the_recipient_has_it(alice: Person, bob: Person):
    with bob.running("listen", "--json") as listening:
        (sent,) = alice.must("send", "bob", "hi", "--wait", "delivered", "--json").records
        assert sent["state"] == "delivered"
        (got,) = [json.loads(line) for line in listening.lines]
        assert (got["from"], got["text"], got["seq"]) == ("alice", "hi", sent["seq"])
    late = alice.run("send", "bob", "hi", "--wait", "delivered", "--timeout", "0.5", "--json")
    assert (late.status, late.error) == (7, "timeout")


def test_who_reads_a_message_says_so_unless_he_keeps_it_to_himself(alice: Person, bob: Person):
    states = []
    for options in ((), ("--no-read-receipts",)):
        with bob.running("listen", "--count", "1", *options) as listening:
            alice.must("send", "bob", "read this", "--wait", "delivered")
            assert listening.wait() == 0
        alice.must("listen", "--timeout", "2")
        (sent,) = alice.must("sent", "--count", "1", "--json").records
        states.append((sent["state"], sent["read"] is not None))
    assert states == [("read", True), ("delivered", False)]
    told = alice.must("sent", "--state", "read", "--json").records
    assert {one["state"] for one in told} == {"read"}


def test_each_line_is_sent_as_it_is_typed(alice: Person, bob: Person):
    with (
        bob.running("listen", "--json") as listening,
        alice.running("send", "bob", "--lines") as sending,
    ):
        sending.type("one")
        listening.wait_for('"text":"one"')
        sending.type("two")
        listening.wait_for('"text":"two"')
        sending.end_input()
        assert sending.wait() == 0
        assert sending.lines == ["2 messages accepted"]


def test_what_is_sent_cannot_act_on_the_recipients_terminal(alice: Person, bob: Person):
    alice.must("send", "bob", "\x1b[2J\u202eevil\nalice: forged")
    out = bob.must("listen", "--count", "1").out
    assert out.endswith("alice: \\x1b[2J\\u202eevil\n  | alice: forged\n")


# -- commands for messages


def test_a_command_gets_each_message_and_can_answer(alice: Person, bob: Person):
    facts = "import os,sys; e=os.environ; print(e['SECURERELAY_FROM'], e['SECURERELAY_TO'],"
    facts += "e['SECURERELAY_ID'].count(':'), int(e['SECURERELAY_TIME']) > 0, sys.argv[1],"
    facts += "sys.stdin.read())"
    alice.must("send", "bob", "$(touch hacked); `id`")
    command = f'{COMMAND[0]} -c "{facts}" "$HOME; echo"'
    ran = bob.must("listen", "--count", "1", "--exec", command)
    assert ran.out == "alice bob 1 True $HOME; echo $(touch hacked); `id`\n"
    assert not (bob.home / "hacked").exists()
    alice.must("send", "bob", "ping")
    bob.must("listen", "--count", "1", "--exec", " ".join([*COMMAND, "send alice"]))
    (answer,) = alice.must("listen", "--count", "1", "--json").records
    assert (answer["from"], answer["text"]) == ("bob", "ping")


def test_a_message_whose_command_fails_stays_and_comes_again(alice: Person, bob: Person):
    alice.must("send", "bob", "difficult")
    failed = bob.run("listen", "--exec", "false", "--json")
    assert (failed.status, failed.error) == (1, "exec")
    (record,) = bob.must("listen", "--count", "1", "--json").records
    assert record["text"] == "difficult"


def test_a_command_need_not_read_its_message(alice: Person, bob: Person):
    alice.must("send", "bob", "-", given="x" * 500_000)
    bob.must("listen", "--count", "1", "--exec", "true")


# -- talking


def test_two_people_talk_until_one_leaves(alice: Person, bob: Person):
    with alice.running("chat", "bob") as a, bob.running("chat", "alice") as b:
        a.type("hello Bob")
        b.wait_for("alice: hello Bob")
        b.type("hello Alice")
        a.wait_for("bob: hello Alice")
        a.type("exit")
        assert a.wait() == 0
        b.end_input()
        assert b.wait() == 0


def test_who_shows_who_is_here(alice: Person, bob: Person):
    names = {record["name"]: record for record in alice.must("who", "--json").records}
    assert names["alice"] == {"name": "alice", "online": True, "listening": False}
    assert names["bob"] == {"name": "bob", "online": False, "listening": False}
    with alice.running("who", "--watch") as watching:
        watching.wait_for(f"{'bob':<32}  away")
        watching.wait_for(f"{'alice':<32}  connected")
        with bob.running("listen"):
            watching.wait_for(f"{'bob':<32}  listening")


# -- administration


def test_numbers_of_messages_only_rise_whatever_happens_in_between(
    place: Path, relay: Daemon, admin: Person, alice: Person, bob: Person
):
    enrol(relay.data, place, "ivo", *SMALL)
    numbers = []
    for end in ("ivo", ""):
        for text in ("one", "two"):
            alice.must("send", "bob", text)
        numbers += [one["n"] for one in bob.must("listen", "--count", "2", "--json").records]
        if end:
            admin.must("revoke", end)
    assert numbers == sorted(set(numbers))


def test_a_revoked_peer_is_cut_within_a_second_and_stays_out(
    place: Path, relay: Daemon, admin: Person, alice: Person
):
    eve = enrol(relay.data, place, "eve", *SMALL)
    with eve.running("listen", "--json") as listening:
        everyone_is(alice, "listening", "eve")
        before = len(relay.lines)
        assert admin.must("revoke", "eve", "--json").records == [
            {"name": "eve", "revoked": True, "sessions": 1}
        ]
        assert listening.wait() == 4
        assert json.loads(listening.lines[-1])["error"] == "revoked"
    times = [
        datetime.fromisoformat(relay.wait_for(event, before).split()[0].rstrip("Z"))
        for event in ("peer.revoked", "reason=revoked")
    ]
    assert abs((times[1] - times[0]).total_seconds()) < 1
    assert eve.run("send", "alice", "let me in", "--json").error == "revoked"
    assert alice.run("send", "eve", "hello?").status == 5
    (row,) = [row for row in admin.must("issued", "--json").records if row["name"] == "eve"]
    assert row["state"] == "revoked"
    taken = admin.run("invite", "eve", "--json")
    assert (taken.status, taken.error) == (4, "name-taken")


def test_an_invitation_works_once_and_a_withdrawn_one_not_at_all(place: Path, admin: Person):
    used, withdrawn = (
        admin.must("invite", name, "--expires", "1h", "--json").records[0]
        for name in ("dora", "emil")
    )
    Person(place / "dora").must("join", "-", *SMALL, given=used["uri"])
    thief = Person(place / "thief")
    again = thief.run("join", "-", *SMALL, "--json", given=used["uri"])
    assert (again.status, again.error) == (4, "token-used")
    assert not (thief.profiles / "dora").exists()
    assert admin.must("withdraw", withdrawn["token"]).status == 0
    gone = thief.run("join", "-", *SMALL, given=withdrawn["uri"])
    assert gone.status == 4
    assert not (thief.profiles / "emil").exists()
    assert admin.run("withdraw", withdrawn["token"]).status == 5
    rows = {
        row["name"]: row["state"] for row in admin.must("invitations", "--all", "--json").records
    }
    assert rows["dora"] == "used"


def test_joining_twice_with_the_same_key_is_no_harm(place: Path, admin: Person):
    uri = admin.must("invite", "fay").out
    fay = Person(place / "fay")
    fay.must("join", "-", *SMALL, given=uri)
    again = fay.run("join", "-", *SMALL, "--json", given=uri)
    assert (again.status, again.error) == (1, "profile")
    fay.must("send", "alice", "still me")


def test_a_certificate_that_is_not_due_is_not_renewed(alice: Person):
    (record,) = alice.must("renew", "--json").records
    assert (record["name"], record["renewed"]) == ("alice", False)


def test_status_tells_of_relay_and_profile(place: Path, relay: Daemon, alice: Person):
    (record,) = alice.must("status", "--json", "--data", relay.data).records
    assert record["relay"]["running"] is True
    assert record["profile"]["name"] == "alice"
    assert record["profile"]["relay_id"] == record["relay"]["id"]


# -- every exit status


@pytest.mark.usefixtures("leaves_mail")
def test_0_what_was_asked_for(alice: Person):
    assert alice.run("send", "bob", "x").status == 0


def test_1_anything_else(alice: Person, place: Path):
    ran = Person(place / "nobody").run("who", "--json")
    assert (ran.status, ran.error) == (1, "profile")


def test_2_usage(alice: Person):
    assert alice.run("send").status == 2
    assert alice.run("send", "Bob", "x").status == 2


def test_3_no_relay(place: Path, relay: Daemon, alice: Person):
    """Nobody answers at the address, or nobody is running on the folder."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    profile = place / "lost"
    shutil.copytree(alice.profiles / "alice", profile)
    facts = json.loads((profile / "profile.json").read_text())
    (profile / "profile.json").write_text(json.dumps({**facts, "addresses": [f"127.0.0.1:{port}"]}))
    ran = alice.run("send", "bob", "x", "--profile", profile, "--json")
    assert (ran.status, ran.error) == (3, "connect")
    ran = alice.run("invite", "zoe", "--data", place / "empty", "--json")
    assert (ran.status, ran.error) == (3, "connect")


def test_4_another_relay_than_the_one_of_the_profile(place: Path, relay: Daemon, alice: Person):
    profile = place / "mistaken"
    shutil.copytree(alice.profiles / "alice", profile)
    facts = json.loads((profile / "profile.json").read_text())
    other = Person(place / "other")
    (made,) = other.must("init", "--data", place / "other-relay", "--json").records
    (profile / "profile.json").write_text(json.dumps({**facts, "relay_id": made["relay_id"]}))
    (profile / "tickets").unlink(missing_ok=True)
    assert alice.run("send", "bob", "x", "--profile", profile).status == 4


def test_5_nobody_of_that_name(alice: Person):
    ran = alice.run("send", "nobody-here", "x", "--json")
    assert (ran.status, ran.error) == (5, "unknown")


def test_6_not_here_and_not_to_be_kept(alice: Person):
    ran = alice.run("send", "bob", "x", "--ttl", "0", "--json")
    assert (ran.status, ran.error) == (6, "offline")


def test_7_too_late(bob: Person):
    assert bob.run("listen", "--count", "1", "--timeout", "0.1").status == 7


@pytest.mark.usefixtures("leaves_mail")
def test_8_the_mailbox_is_full(alice: Person):
    ran = alice.run("send", "bob", "--lines", "--json", given="x\n" * 30)
    assert (ran.status, ran.error) == (8, "mailbox-full")
    assert len(ran.records) < 30


# -- ends that are nobody's fault


def interrupted(person: Person, listening: Running, number: int) -> int:
    everyone_is(person, "listening", "bob")
    listening.process.send_signal(number)
    return listening.wait()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_quietly_and_says_goodbye_to_the_relay(
    relay: Daemon, alice: Person, bob: Person, number: int, status: int
):
    before = len(relay.lines)
    with bob.running("listen") as listening:
        assert interrupted(alice, listening, number) == status
        assert listening.lines == []
    closed = relay.wait_for("session.closed source=127.0.0.1 peer=bob", before)
    assert closed.endswith("reason=done")


@pytest.mark.usefixtures("leaves_mail")
def test_a_reader_that_goes_away_is_no_drama(alice: Person, bob: Person):
    for text in ("one", "two"):
        alice.must("send", "bob", text)
    process = subprocess.Popen(
        [*COMMAND, "listen"],
        env=bob.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert (process.stderr.read(), process.wait(PATIENCE)) == (b"", 141)
    process.stderr.close()


@pytest.mark.usefixtures("leaves_mail")
@pytest.mark.parametrize("words", [["listen", "--count", "1"], ["--help"], ["who"]])
def test_a_full_disk_is_one_line(alice: Person, bob: Person, words: list[str]):
    alice.must("send", "bob", "x")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, *words],
            env=bob.environment,
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
            check=False,
        )
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert b"No space left on device" in done.stderr


def test_a_message_that_could_not_be_shown_is_not_lost(alice: Person, bob: Person):
    alice.must("send", "bob", "precious")
    with open("/dev/full", "wb") as full:
        subprocess.run(
            [*COMMAND, "listen"], env=bob.environment, stdout=full, stderr=full, check=False
        )
    (record,) = bob.must("listen", "--count", "1", "--json").records
    assert record["text"] == "precious"


def test_a_terminal_that_knows_only_ascii_is_no_obstacle(alice: Person, bob: Person):
    alice.must("send", "bob", "grüß dich")
    shown = bob.must("listen", "--count", "1", PYTHONIOENCODING="ascii")
    assert shown.out.endswith("alice: gr\\xfc\\xdf dich\n")


def test_a_passphrase_is_typed_at_the_terminal_and_not_shown(place: Path, admin: Person):
    uri = admin.must("invite", "greta").out.strip()
    greta = Person(place / "greta", SECURERELAY_INVITATION=uri)
    status, shown = at_terminal(greta, ["join", *SMALL, "--passphrase"], "s3cret", "s3cret")
    assert (status, "s3cret" in shown) == (0, False)
    status, shown = at_terminal(greta, ["send", "alice", "hi"], "wrong")
    assert (status, "the passphrase is wrong" in shown) == (4, True)
    status, shown = at_terminal(greta, ["send", "alice", "hi"], "s3cret")
    assert (status, "accepted" in shown) == (0, True)


def at_terminal(person: Person, words: list[str], *answers: str) -> tuple[int, str]:
    """Run a command on a terminal, and type an answer to each question."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(person.home)
        os.execve(COMMAND[0], [*COMMAND, *words], person.environment)
    shown, left = b"", list(answers)
    asked = 0
    while True:
        if not select.select([terminal], [], [], PATIENCE)[0]:
            os.kill(pid, signal.SIGKILL)
        try:
            block = os.read(terminal, 4096)
        except OSError:  # the end, as Linux tells it
            break
        if not block:
            break
        shown += block
        if shown.count(b": ") > asked and shown.endswith(b": ") and left:
            asked = shown.count(b": ")
            os.write(terminal, left.pop(0).encode() + b"\n")
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), shown.decode()
