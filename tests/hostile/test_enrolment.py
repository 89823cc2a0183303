"""Newcomers that are none: stolen, shared, guessed and repeated invitations, and a false relay."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from securerelay.crypto import primitives
from tests import keys
from tests.end_to_end.daemon import PATIENCE, environment
from tests.hostile import independent as sr1
from tests.hostile.siege import HalfWay, Siege, err, told

FAILED = err("auth-failed")


def key(index: int = 1) -> rsa.RSAPrivateKey:
    return keys.rsa_key(2048, index)


def newcomer(invitation: sr1.Invitation, index: int = 1) -> sr1.Newcomer:
    return sr1.Newcomer(invitation, sr1.spki_of(key(index).public_key()), sr1.signer(key(index)))


def enrol(siege: Siege, invitation: sr1.Invitation, index: int = 1) -> bytes:
    """Enrol and return the certificate."""
    return siege.client().enrol(invitation, key(index)).certificate


def test_one_invitation_fifty_times_at_once_makes_one_peer(siege: Siege) -> None:
    """Ten times each of five keys: the first key to come gets in, as often as it asks."""
    invitation = siege.invite("popular")
    answers: list[tuple[int, bytes | str]] = []
    barrier = threading.Barrier(50)

    def attempt(index: int) -> None:
        client = siege.client()
        barrier.wait()
        try:
            answers.append((index, client.enrol(invitation, key(index)).certificate))
        except sr1.Told as told:
            answers.append((index, f"{told.how} {told.code}"))

    indices = [20 + n % 5 for n in range(50)]
    for index in set(indices):
        key(index)
    threads = [threading.Thread(target=attempt, args=(index,)) for index in indices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 50
    certificates = {answer for _, answer in answers if isinstance(answer, bytes)}
    assert len(certificates) == 1
    assert len({index for index, answer in answers if isinstance(answer, bytes)}) == 1
    assert sum(isinstance(answer, bytes) for _, answer in answers) == 10
    assert {answer for _, answer in answers if isinstance(answer, str)} == {"alert token-used"}
    siege.daemon.wait_for("enrolment.token-used source=")
    (alarm,) = siege.daemon.admin("alarms")["alarms"]
    assert alarm["name"] == "popular"
    assert siege.daemon.admin("alarms", acknowledge=alarm["token"])["alarms"] == []


def test_a_reply_that_got_lost_can_be_had_again_by_the_same_key_alone(siege: Siege) -> None:
    invitation = siege.invite("unlucky")
    half = HalfWay(siege, newcomer(invitation))
    half.wire.sendall(half.c2)
    siege.daemon.wait_for("peer.enrolled name=unlucky")
    half.wire.close()  # unread
    with pytest.raises(sr1.Told, match="alert token-used"):
        enrol(siege, invitation, 2)
    certificate = enrol(siege, invitation)
    assert enrol(siege, invitation) == certificate
    client = siege.client(sr1.Credential(certificate, sr1.signer(key())))
    client.handshake()
    client.close()


def test_nobody_enrols_with_a_key_that_is_not_his(siege: Siege) -> None:
    """A public key is no secret; what it signed elsewhere proves nothing here."""
    invitation = siege.invite("thief")
    theirs = sr1.spki_of(key(1).public_key())
    half = HalfWay(siege, sr1.Newcomer(invitation, theirs, sr1.signer(key(2))))
    assert half.end(half.c2) == FAILED
    honest = HalfWay(siege, newcomer(invitation))
    recorded = dict(honest.core.items)[0x0C]
    half = HalfWay(siege, sr1.Newcomer(invitation, theirs, lambda *_: recorded))
    assert half.end(half.c2) == FAILED
    half = HalfWay(siege, newcomer(invitation))
    assert half.end(honest.c2) == FAILED
    honest.wire.close()
    wrong = sr1.signer(key())
    half = HalfWay(
        siege, sr1.Newcomer(invitation, theirs, lambda _, digest: wrong(sr1.PEER_VERIFY, digest))
    )
    assert half.end(half.c2) == FAILED
    enrol(siege, invitation)  # none of it used the invitation up


def changed(invitation: sr1.Invitation, **changes: object) -> sr1.Invitation:
    values = {**vars(invitation), **changes}
    return sr1.Invitation(**values)  # type: ignore[arg-type]


def test_an_invitation_with_anything_guessed_gets_one_answer(siege: Siege) -> None:
    invitation = siege.invite("guessed")
    for wrong in (
        changed(invitation, token=os.urandom(6)),
        changed(invitation, token=bytes(6)),
        changed(invitation, seed=os.urandom(16)),
        changed(invitation, name=""),
        changed(invitation, name="Guessed"),
        changed(invitation, name="guessed\0"),
        changed(invitation, name="guessed\n"),
        changed(invitation, name="../guessed"),
        changed(invitation, name="g" * 33),
        changed(invitation, name="@guessed"),
        changed(invitation, token=b""),
    ):
        half = HalfWay(siege, newcomer(wrong))
        assert half.end(half.c2) == FAILED
    enrol(siege, invitation)


def test_an_invitation_is_for_its_own_name(siege: Siege) -> None:
    invitation = siege.invite("modest")
    for name in ("canary", "admin2", "modest2"):
        with pytest.raises(sr1.Told, match="alert expired"):
            siege.client().enrol(changed(invitation, name=name), key())
    enrol(siege, invitation)


def test_who_has_another_invitation_cannot_lend_its_signature(siege: Siege) -> None:
    mine, theirs = siege.invite("lender"), siege.invite("borrower")
    half = HalfWay(siege, newcomer(changed(theirs, seed=mine.seed)))
    assert half.end(half.c2) == FAILED
    enrol(siege, theirs)
    enrol(siege, mine)


def test_an_invitation_that_was_withdrawn_is_none(siege: Siege) -> None:
    invitation = siege.invite("unwanted")
    assert siege.daemon.admin("withdraw", token=invitation.token.hex())["ok"]
    how = told(lambda: enrol(siege, invitation))
    assert how in (("err", "auth-failed"), ("alert", "expired"))
    assert told(lambda: enrol(siege, invitation)) == how


def test_a_revoked_peer_does_not_come_back_by_its_invitation(siege: Siege) -> None:
    invitation = siege.invite("banished")
    enrol(siege, invitation)
    assert siege.daemon.admin("revoke", name="banished")["ok"]
    assert told(lambda: enrol(siege, invitation)) == ("alert", "revoked")
    assert told(lambda: enrol(siege, invitation, 2)) == ("alert", "token-used")
    assert not siege.daemon.admin("invite", name="banished")["ok"]


def test_two_invitations_for_one_name_make_one_peer(siege: Siege) -> None:
    """Both are good when they are made; who comes first has the name."""
    invitations = [siege.invite("contested") for _ in range(2)]
    answers: list[str] = []

    def attempt(index: int) -> None:
        try:
            enrol(siege, invitations[index], 30 + index)
            answers.append("enrolled")
        except sr1.Told as told:
            answers.append(f"{told.how} {told.code}")

    threads = [threading.Thread(target=attempt, args=(index,)) for index in range(2)]
    for index in range(2):
        key(30 + index)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == ["alert expired", "enrolled"]


def test_an_invitation_is_made_for_a_name_that_may_be_given(siege: Siege) -> None:
    siege.invite("model")
    enrol(siege, siege.invite("model"))
    for name in ("model", "rnodel", "mode1", "m0del", "admin", "@x", "", "Model", "x\n", "x" * 33):
        assert not siege.daemon.admin("invite", name=name)["ok"], name
    for expires in (0, -1, 1, 1.5, True, None, "600", 10**9, 2**63):
        assert not siege.daemon.admin("invite", name="fine", expires=expires)["ok"], expires


def test_a_newcomer_may_end_as_soon_as_it_has_asked(siege: Siege) -> None:
    """CLOSE, or anything, right behind the proof changes nothing about what was proven."""
    for name, kind, content in (
        ("closing", sr1.CLOSE, b"done"),
        ("chatting", sr1.DATA, b"LISTEN 0\n"),
        ("rekeying", sr1.REKEY, b"\1"),  # ignored, so only the deadline ends this one
    ):
        invitation = siege.invite(name)
        half = HalfWay(siege, newcomer(invitation))
        session = sr1.Session("client", half.core.suite, half.core.secrets)
        assert b"SR1 ERR" not in half.end(half.c2 + session.out.seal(kind, content))
        enrol(siege, invitation)  # by the same key, so it gets what it has asked for


WEAK: dict[str, Callable[[], bytes]] = {
    "RSA of 1024 bits": lambda: keys.spki(1024),
    "e = 3": lambda: sr1.spki_of(
        rsa.RSAPublicNumbers(3, key().public_key().public_numbers().n).public_key()
    ),
    "RSA of 5120 bits": lambda: sr1.spki_of(
        rsa.RSAPublicNumbers(65537, (1 << 5119) + 1).public_key()
    ),
    "a curve": lambda: sr1.spki_of(ec.generate_private_key(ec.SECP256R1()).public_key()),  # type: ignore[arg-type]
    "Ed25519": lambda: sr1.spki_of(ed25519.Ed25519PrivateKey.generate().public_key()),  # type: ignore[arg-type]
    "a byte behind": lambda: keys.spki(2048, 1) + b"\0",
    "nothing": lambda: b"",
    "noise": lambda: os.urandom(300),
    "a certificate": lambda: b"\x30\x82" + os.urandom(900),
}


@pytest.mark.parametrize("what", WEAK)
def test_a_weak_or_malformed_key_enrols_nobody(siege: Siege, what: str) -> None:
    invitation = siege.invite("weak" + str(list(WEAK).index(what)))
    half = HalfWay(siege, sr1.Newcomer(invitation, WEAK[what](), sr1.signer(key())))
    assert half.end(half.c2) == FAILED


def test_a_proof_that_mixes_a_peers_with_a_newcomers_is_none(siege: Siege) -> None:
    invitation = siege.invite("mixed")
    for order in ((0, 1, 2, 4), (1, 0, 2, 3, 4), (0, 1, 3, 2, 4), (0, 2, 3, 4), (4,)):
        half = HalfWay(siege, newcomer(invitation))
        items = half.core.items[-5:]
        assert half.end(half.seal([items[n] for n in order])) == FAILED
    half = HalfWay(siege, newcomer(invitation))
    certificate = (0x07, siege.canary.credential.certificate)
    assert half.end(half.seal([certificate, *half.core.items[-5:]])) == FAILED
    enrol(siege, invitation)


def test_many_guesses_at_once_enrol_nobody(siege: Siege) -> None:
    invitation = siege.invite("besieged")

    def guess() -> None:
        wrong = changed(invitation, token=os.urandom(6), seed=os.urandom(16))
        half = HalfWay(siege, newcomer(wrong))
        assert half.end(half.c2) == FAILED

    threads = [threading.Thread(target=guess) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    enrol(siege, invitation)


# --- a false relay ---


@contextlib.contextmanager
def false_relay(authority: sr1.Authority, ca_spki: bytes) -> Iterator[int]:
    """Serve as a relay that shows a CA key and a certificate of another authority."""
    authority.spki = ca_spki
    state = sr1.RelayState(authority, keys.rsa_key(2048, 9), "relay")
    with socket.create_server(("127.0.0.1", 0)) as port:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    wire, _ = port.accept()
                    sr1.Relay(state).serve(wire)

        thread = threading.Thread(target=serve)
        thread.start()
        yield port.getsockname()[1]
        port.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize("shows", ["its own authority", "the true authority"])
def test_nobody_joins_a_false_relay(siege: Siege, tmp_path: Path, shows: str) -> None:
    """It knows the relay's id, as everybody with an invitation does, and even its CA's key."""
    true = siege.authority()
    false = sr1.Authority(keys.rsa_key(2048, 8))
    ca_spki = true.spki if shows == "the true authority" else false.spki
    false.relay_id = siege.relay_id
    with false_relay(false, ca_spki) as port:
        invitation = changed(siege.invite("trusting" + shows[4:7].strip()), port=port)
        joined = subprocess.run(
            [
                sys.executable,
                "-m",
                "securerelay",
                "--profile",
                tmp_path / "p",
                "join",
                invitation.uri(),
            ],
            env=environment(),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert joined.returncode != 0
    assert "Traceback" not in joined.stderr
    assert "is not the relay that this invitation is for" in joined.stderr
    assert not list(tmp_path.glob("p/*.crt"))


def test_the_two_implementations_agree_on_who_is_a_false_relay(siege: Siege) -> None:
    false = sr1.Authority(keys.rsa_key(2048, 8))
    false.relay_id = siege.relay_id
    with false_relay(false, siege.authority().spki) as port:
        client = sr1.Client(siege.relay_id).connect("127.0.0.1", port)
        with pytest.raises(sr1.Wrong, match="certificate"):
            client.enrol(siege.invite("careful"), key())
        client.wire.close()
    assert primitives.sha256(siege.authority().spki) == siege.relay_id
