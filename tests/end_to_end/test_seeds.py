"""The programs from which SecureRelay grew, each as a story told through what everybody can use."""

from __future__ import annotations

import base64
import contextlib
import json
import math
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from tests.end_to_end.daemon import PATIENCE, Daemon, environment, running
from tests.end_to_end.people import Person, Wire, enrol

SMALL = ("--key-bits", "2048")


def relay_with(folder: Path, *lines: str) -> Path:
    """Write a relay's configuration."""
    path = folder / "relay.toml"
    path.write_text("\n".join(lines))
    return path


def port_3000() -> None:
    """Wait until nobody uses port 3000, which other programs like as well."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(OSError):
            socket.create_server(("127.0.0.1", 3000)).close()
            return
        assert time.monotonic() < deadline, "this test needs port 3000, which is in use"
        time.sleep(0.5)


def test_a_rsa_4096_on_port_3000_shown_by_the_receiver_and_answered(tmp_path: Path):
    """Two RSA-4096 identities; the key exchange is RSA-OAEP; what travels is unreadable."""
    port_3000()
    config = relay_with(tmp_path, "[handshake]", 'groups = ["rsa3072-oaep"]')
    rsa = ("--groups", "rsa3072-oaep")
    with running(tmp_path, "--port", "3000", "--config", config) as relay:
        assert relay.port == 3000
        wire = Wire(3000)
        alice, bob = (
            enrol(
                relay.data,
                tmp_path,
                name,
                *("--key-bits", "4096"),
                *rsa,
                address=f"127.0.0.1:{wire.port}",
            )
            for name in ("alice", "bob")
        )
        assert alice.must("keys", "show", "--json").records[0]["bits"] == 4096
        with bob.running("listen", *rsa) as receiver:
            alice.must("send", "bob", "the message in the clear", *rsa, "--wait", "delivered")
            assert receiver.wait_for("alice: the message in the clear")
        with alice.running("listen", *rsa) as sender:
            bob.must("send", "alice", "the reply in the clear", *rsa, "--wait", "delivered")
            assert sender.wait_for("bob: the reply in the clear")
        assert b" share=rsa3072-oaep:" in wire.carried
        assert b"in the clear" not in wire.carried
        # Whoever permits only the default exchange is told that there is none in common.
        stranger = alice.run("send", "bob", "x", "--json")
        assert stranger.status in (3, 4)
        assert "permits no" in json.loads(stranger.err)["message"]


def test_b_an_rsa_key_carries_the_aes_key_and_a_broadcast_reaches_the_others(tmp_path: Path):
    """The relay seals a fresh secret under the client's RSA key; AES-256-GCM keys come from it."""
    config = relay_with(
        tmp_path,
        'listen = ["tcp:0:interface=127.0.0.1"]',
        "[handshake]",
        'groups = ["rsa3072-oaep"]',
        'suites = ["aes256gcm"]',
    )
    rsa = ("--groups", "rsa3072-oaep")
    with running(tmp_path, "--config", config) as relay:
        wire = Wire(relay.port)
        address = f"127.0.0.1:{wire.port}"
        people = {
            name: enrol(relay.data, tmp_path, name, *SMALL, *rsa, address=address)
            for name in ("alice", "bob", "carol")
        }
        everybody = [one["name"] for one in people["alice"].must("who", *rsa, "--json").records]
        assert everybody == ["alice", "bob", "carol"]
        for other in everybody:
            if other != "alice":
                people["alice"].must("send", other, "to all of you", *rsa)
        for other in ("bob", "carol"):
            (got,) = people[other].must("listen", "--count", "1", *rsa, "--json").records
            assert (got["from"], got["text"]) == ("alice", "to all of you")
        chosen = set(re.findall(rb"SR1 HELLO suite=(\S+) ", bytes(wire.down)))
        assert chosen == {b"aes256gcm"}
        shares = re.findall(rb" share=rsa3072-oaep:(\S+)", bytes(wire.down))
        assert len(shares) == len(set(shares)) > 3
        assert b"to all of you" not in wire.carried


HOST = """
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from securerelay import channel

async def main(reactor):
    listener = await channel.listen("tcp:0:interface=127.0.0.1")
    print(listener.invitation, flush=True)
    pipe = await listener.accept()
    print(pipe.fingerprint, flush=True)
    async for chunk in pipe:
        await pipe.write(chunk.upper())
    print("the other end is done", flush=True)

react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""

GUEST = """
import sys
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from securerelay import channel
from securerelay.errors import SecureRelayError

async def main(reactor):
    try:
        pipe = await channel.join(sys.argv[1])
    except SecureRelayError as error:
        print("refused:", error, flush=True)
        return
    print(pipe.fingerprint, flush=True)
    await pipe.write(b"hybrid")
    print((await pipe.read()).decode(), flush=True)
    await pipe.close()

react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""


def program(text: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", text, *arguments],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_c_a_hybrid_handshake_as_a_library_confirmed_at_both_ends():
    """Two programs, no relay: one line invites, both ends prove that they share the same keys."""
    with program(HOST) as host:
        assert host.stdout is not None
        invitation = host.stdout.readline().strip()
        typo = invitation[:-1] + ("a" if invitation[-1] != "a" else "b")
        with program(GUEST, typo) as mistaken:
            shown, _ = mistaken.communicate(timeout=PATIENCE)
            assert shown.startswith("refused: ")
        with program(GUEST, invitation) as guest:
            shown, _ = guest.communicate(timeout=PATIENCE)
        fingerprint, answer = shown.splitlines()
        confirmed, end = host.communicate(timeout=PATIENCE)[0].splitlines()
        assert (answer, end) == ("HYBRID", "the other end is done")
        assert confirmed == fingerprint


def on_disk(person: Person) -> dict[Path, bytes]:
    """What somebody's home holds, but for what every connection changes: tickets, and the state."""
    files = (path for path in person.home.rglob("*") if path.is_file())
    changing = ("tickets", "state.sqlite", "outbox", "shown")
    return {
        path: path.read_bytes()
        for path in files
        if not path.name.startswith(changing) and path.parent.name not in changing
    }


def holds(person: Person, text: bytes) -> bool:
    """Tell whether a text is anywhere in somebody's home."""
    return any(text in path.read_bytes() for path in person.home.rglob("*") if path.is_file())


def test_d_a_private_talk_until_exit_that_leaves_no_key_behind(tmp_path: Path):
    """Keys are made and exchanged by themselves, and are gone at both ends after ``exit``."""
    with running(tmp_path, "--port", "tcp:0:interface=127.0.0.1") as relay:
        alice = enrol(relay.data, tmp_path, "alice", *SMALL)
        bob = enrol(relay.data, tmp_path, "bob", *SMALL)
        before = on_disk(alice), on_disk(bob)
        with (
            alice.running("chat", "bob", "--ephemeral") as a,
            bob.running("chat", "alice", "--ephemeral") as b,
        ):
            prints = {end.wait_for("compare:").partition("compare: ")[2] for end in (a, b)}
            assert len(prints) == 1
            a.type("is it you?")
            b.wait_for("alice: is it you?")
            b.type("it is")
            a.wait_for("bob: it is")
            assert (on_disk(alice), on_disk(bob)) == before
            assert not holds(alice, b"is it you?")
            assert not holds(bob, b"is it you?")
            a.type("exit")
            assert (a.wait(), b.wait()) == (0, 0)
            for end in (a, b):
                end.wait_for("keys are forgotten at both ends")
        assert (on_disk(alice), on_disk(bob)) == before
        for person in (alice, bob):
            keys = [path for path, data in on_disk(person).items() if b"PRIVATE KEY" in data]
            assert [path.name for path in keys] == ["key.pem"]


@pytest.fixture
def diffie_hellman(tmp_path: Path) -> Iterator[Daemon]:
    """A relay that permits finite-field Diffie-Hellman, and nothing else."""
    config = relay_with(
        tmp_path,
        'listen = ["tcp:0:interface=127.0.0.1"]',
        "[handshake]",
        'groups = ["ffdhe3072"]',
        "[limits]",
        "penalty_acts_from_seconds = 600",
    )
    with running(tmp_path, "--config", config) as relay:
        yield relay


DH = ("--groups", "ffdhe3072")


def test_e_a_certificate_binds_the_name_to_the_key(tmp_path: Path, diffie_hellman: Daemon):
    alice = enrol(diffie_hellman.data, tmp_path, "alice", *SMALL, *DH)
    facts = json.loads((alice.profiles / "alice" / "profile.json").read_text())
    certificate = x509.load_der_x509_certificate(base64.b64decode(facts["certificate"]))
    authority = x509.load_pem_x509_certificate((diffie_hellman.data / "ca.crt").read_bytes())
    certificate.verify_directly_issued_by(authority)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["securerelay:peer/alice"]
    spki = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    digest = hashes.Hash(hashes.SHA256())
    digest.update(spki)
    assert alice.must("keys", "show", "--json").records[0]["sha256"] == digest.finalize().hex()


def test_e_named_recipients_through_the_relay_and_an_error_for_an_unknown_one(
    tmp_path: Path, diffie_hellman: Daemon
):
    wire = Wire(diffie_hellman.port)
    address = f"127.0.0.1:{wire.port}"
    alice, bob, carol = (
        enrol(diffie_hellman.data, tmp_path, name, *SMALL, *DH, address=address)
        for name in ("alice", "bob", "carol")
    )
    alice.must("send", "bob", "for Bob's eyes", *DH)
    alice.must("send", "carol", "for Carol's eyes", *DH)
    for person, text in ((bob, "for Bob's eyes"), (carol, "for Carol's eyes")):
        (got,) = person.must("listen", "--count", "1", *DH, "--json").records
        assert (got["from"], got["text"]) == ("alice", text)
    ran = alice.run("send", "dave", "anybody?", *DH, "--json")
    assert (ran.status, ran.error) == (5, "unknown")
    assert b" share=ffdhe3072:" in wire.carried
    assert b"eyes" not in wire.carried


def test_e_tampering_anywhere_is_noticed_and_nothing_altered_arrives(
    tmp_path: Path, diffie_hellman: Daemon
):
    """One byte is changed in each part: both HELLOs, both proofs of the keys, and a record."""
    wire = Wire(diffie_hellman.port)
    address = f"127.0.0.1:{wire.port}"
    alice, bob = (
        enrol(diffie_hellman.data, tmp_path, name, *SMALL, *DH, address=address)
        for name in ("alice", "bob")
    )
    tickets = alice.profiles / "alice" / "tickets"
    texts: list[str] = []

    def change(position: int, times: float = math.inf) -> object:
        """Change the byte at this position of a stream, in lines to another that is legal."""
        left = times

        def alter(at: int, block: bytes) -> bytes:
            nonlocal left
            if left == 0 or not at <= position < at + len(block):
                return block
            left -= 1
            altered = bytearray(block)
            altered[position - at] = ord("A" if altered[position - at] != ord("A") else "B")
            return bytes(altered)

        return alter

    def sent_while(up: int | None = None, down: int | None = None, times: float = math.inf) -> int:
        tickets.unlink(missing_ok=True)  # each time a full handshake
        straight = wire.alter_up, wire.alter_down
        if up is not None:
            wire.alter_up = change(up, times)  # type: ignore[assignment]
        if down is not None:
            wire.alter_down = change(down, times)  # type: ignore[assignment]
        wire.up.clear()
        wire.down.clear()
        texts.append(f"intact {len(texts)}")
        status = alice.run("send", "bob", texts[-1], *DH, "--timeout", "10").status
        wire.alter_up, wire.alter_down = straight
        return status

    assert sent_while() == 0
    first_up, auth_up = (len(line) + 1 for line in bytes(wire.up).split(b"\n")[:2])
    first_down, auth_down = (len(line) + 1 for line in bytes(wire.down).split(b"\n")[:2])
    assert bytes(wire.up[first_up:]).startswith(b"SR1 AUTH ")
    assert bytes(wire.down[first_down:]).startswith(b"SR1 AUTH ")
    assert sent_while(up=60) == 4  # the client's HELLO
    assert sent_while(down=60) == 4  # the relay's HELLO
    assert sent_while(down=first_down + auth_down - 200) == 4  # the relay's proof
    assert sent_while(up=first_up + auth_up - 200) == 4  # the client's proof
    assert diffie_hellman.wait_for("code=auth-failed")
    # A record: the relay cuts the connection, and the client says it again in a new one.
    assert sent_while(up=first_up + auth_up + 20, times=1) == 0
    assert "peer=alice" in diffie_hellman.wait_for("reason=record")
    # What could not be sent stayed in the outbox meanwhile: all arrives, once and as it was.
    alice.must("flush", *DH)
    got = bob.must("listen", "--count", str(len(texts)), "--timeout", "30", *DH, "--json").records
    assert sorted(one["text"] for one in got) == texts


def test_e_a_key_under_a_password_and_a_wrong_password_is_refused(
    tmp_path: Path, diffie_hellman: Daemon
):
    secrets = {}
    for word in ("right", "wrong"):
        secrets[word] = tmp_path / word
        secrets[word].write_text(f"the {word} password\n")
        secrets[word].chmod(0o600)
    protected = ("--passphrase-file", secrets["right"])
    alice = enrol(diffie_hellman.data, tmp_path, "alice", *SMALL, *DH, *protected)
    key = (alice.profiles / "alice" / "key.pem").read_bytes()
    with pytest.raises((ValueError, TypeError)):
        serialization.load_pem_private_key(key, None)
    assert alice.must("keys", "show", *protected, "--json").records[0]["protected"] is True
    alice.must("send", "alice", "opened", *DH, *protected)
    ran = alice.run("send", "alice", "x", *DH, "--passphrase-file", secrets["wrong"])
    assert (ran.status, ran.out, ran.err.count("\n")) == (4, "", 1)
    assert "passphrase is wrong" in ran.err
    assert alice.run("send", "alice", "x", *DH).status == 4
    assert (alice.profiles / "alice" / "key.pem").read_bytes() == key
