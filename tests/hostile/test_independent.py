"""The independent implementation agrees with itself; only then is it worth comparing with."""

from __future__ import annotations

import functools
import socket
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from . import independent as sr1

BOTH = [(group, suite) for group in sr1.GROUPS for suite in sr1.SUITES]


@functools.cache
def rsa_key(number: int, bits: int = 2048) -> rsa.RSAPrivateKey:
    """Keys take long to make, so the tests share them."""
    return rsa.generate_private_key(65537, bits)


@functools.cache
def authority() -> sr1.Authority:
    return sr1.Authority(rsa_key(0))


def relay_state(**options: object) -> sr1.RelayState:
    return sr1.RelayState(authority(), rsa_key(1), **options)  # type: ignore[arg-type]


def credential(name: str = "alice", number: int = 2) -> sr1.Credential:
    key = rsa_key(number)
    return sr1.Credential(authority().issue("peer", name, key.public_key()), sr1.signer(key))


def client_of(relay: sr1.Relay, **options: object) -> sr1.Client:
    options.setdefault("privates", {"rsa3072-oaep": rsa_key(9, 3072)})
    made = sr1.Client(relay.state.authority.relay_id, credential(), **options)  # type: ignore[arg-type]
    return made.attach(sr1.Memory(relay))


def talk(client: sr1.Client, relay: sr1.Relay) -> None:
    """Something large each way."""
    body = bytes(range(256)) * 200
    client.send(sr1.encode("SEND", 1, "bob", "-", "r", body=body) + sr1.encode("PING", "x"))
    assert relay.messages[-2:] == [
        sr1.Message("SEND", (1, "bob", "-", "r"), body),
        sr1.Message("PING", ("x",)),
    ]
    sent = sr1.encode("MSG", 7, "bob", "@all", "A" * 22, 1, 1700000000000, body=body)
    relay.send(sent + sr1.encode("OK", 1))
    assert client.receive().body == body
    assert client.receive() == sr1.Message("OK", (1,))


def agree(client: sr1.Client, relay: sr1.Relay) -> None:
    ours = dict(client.secrets)
    if not relay.resumed:  # the relay never saw the key of a ticket it did not know
        for name in ("binder", "binder_key"):
            ours.pop(name, None)
    assert ours == relay.secrets
    assert {"es", "hs", "c_hs", "s_hs", "ms", "c_ap", "s_ap", "exporter", "rms", "rs"} <= set(
        client.secrets
    )


@pytest.mark.parametrize(("group", "suite"), BOTH)
def test_a_whole_life_in_every_group_and_suite(group: str, suite: str) -> None:
    state = relay_state(groups=(group,), suites=(suite,))
    relay = sr1.Relay(state)
    client = client_of(relay, groups=(group,))
    tickets = client.handshake().tickets
    assert (relay.peer, relay.suite, relay.group) == ("alice", suite, group)
    talk(client, relay)
    client.update()
    relay.update()
    client.update()
    talk(client, relay)
    client.core.privates["rekey"] = client.core.privates.get(group)  # type: ignore[union-attr]
    fresh = client.rekey(group).tickets
    relay.update()
    talk(client, relay)
    client.core.privates["rekey"] = client.core.privates.get(group)  # type: ignore[union-attr]
    fresh = client.rekey(group).tickets
    talk(client, relay)
    agree(client, relay)
    assert "rekey2 c_ap iv" in client.secrets
    assert client.close() == "done"

    relay = sr1.Relay(state)  # tickets from before the REKEY are dead
    client = client_of(relay, groups=(group,))
    client.resume(tickets[0])
    assert not relay.resumed

    relay = sr1.Relay(state)
    client = client_of(relay, groups=(group,))
    client.resume(fresh[0])
    assert relay.resumed
    assert client.core is not None
    assert client.core.resumed
    talk(client, relay)
    client.core.privates["rekey"] = client.core.privates.get(group)
    client.rekey(group)
    talk(client, relay)
    agree(client, relay)

    relay = sr1.Relay(state)  # a ticket serves once
    client = client_of(relay, groups=(group,))
    client.resume(fresh[0])
    assert not relay.resumed
    agree(client, relay)


@pytest.mark.parametrize("group", sr1.GROUPS)
def test_retry_leads_to_the_group_the_relay_prefers_and_resumes_too(group: str) -> None:
    state = relay_state(groups=(group, *sr1.GROUPS))
    other = next(one for one in ("x25519", "x25519mlkem768") if one != group)
    relay = sr1.Relay(state)
    client = client_of(relay, groups=sr1.GROUPS, share=other)
    tickets = client.handshake().tickets
    assert relay.group == group
    assert [kind for kind, _ in relay.items][:3] == [0x10, 0x11, 0x01]
    agree(client, relay)
    relay = sr1.Relay(state)
    client = client_of(relay, groups=sr1.GROUPS, share=other)
    client.resume(tickets[0])
    assert relay.resumed
    talk(client, relay)
    agree(client, relay)


@pytest.mark.parametrize(("group", "suite"), BOTH)
def test_enrolment_gives_a_certificate_that_works(group: str, suite: str) -> None:
    state = relay_state(groups=(group,), suites=(suite,))
    invitation = sr1.Invitation.parse(state.invite("carol").uri())
    key = rsa_key(3)
    relay = sr1.Relay(state)
    client = client_of(relay, groups=(group,))
    made = client.enrol(invitation, key)
    agree(client, relay)
    again = client_of(sr1.Relay(state), groups=(group,)).enrol(invitation, key)
    assert made.certificate == again.certificate
    with pytest.raises(sr1.Told, match="alert token-used"):
        client_of(sr1.Relay(state), groups=(group,)).enrol(invitation, rsa_key(2))
    relay = sr1.Relay(state)
    client = client_of(relay, groups=(group,))
    client.credential = made
    client.handshake()
    assert relay.peer == "carol"


def test_injected_keys_and_nonces_give_the_same_lines_and_secrets_again() -> None:
    key = bytes(range(96))
    privates = {"x25519mlkem768": key, "x25519": key[:32]}
    runs = []
    for _ in range(2):
        core = sr1.ClientHandshake(
            authority().relay_id, credential(), nonce=bytes(32), privates=privates
        )
        runs.append(core.hello())
    assert runs[0] == runs[1]
    # The sizes of the text: a C1 of 1,786 and an S1 HELLO of 1,592 bytes with the default lists.
    assert len(runs[0]) == 1786
    relay = sr1.Relay(relay_state(), nonce=b"n" * 32)
    hello, auth = relay.receive(runs[0]).splitlines(keepends=True)
    assert (len(hello), len(auth)) == (1592, 4128)
    share, z = sr1.answer_share("x25519", sr1.Ephemeral("x25519", key[:32]).share, b"k" * 32)
    assert sr1.answer_share("x25519", b"", (share, z)) == (share, z)
    assert sr1.Ephemeral("x25519", key[:32]).finish(share) == z


def test_the_realistic_key_sizes_fit_into_auth() -> None:
    big = sr1.Authority(rsa_key(10, 4096))
    state = sr1.RelayState(big, rsa_key(11, 4096))
    invitation = state.invite("n" * 32)
    client = client_of(sr1.Relay(state))
    made = client.enrol(invitation, rsa_key(11, 4096))
    client = client_of(sr1.Relay(state))
    client.credential = made
    client.handshake()


def answer_to(line: bytes, state: sr1.RelayState | None = None) -> bytes:
    return sr1.Relay(state or relay_state(groups=("x25519",))).receive(line)


def hello(**options: object) -> bytes:
    options.setdefault("groups", ("x25519",))
    core = sr1.ClientHandshake(authority().relay_id, credential(), **options)  # type: ignore[arg-type]
    return core.hello()


def test_the_relay_names_what_is_wrong_with_a_hello() -> None:
    good = hello()
    assert answer_to(good).startswith(b"SR1 HELLO ")
    wrong = {
        b"bad-line": [
            good.replace(b"SR1 H", b"SR1  H"),
            good.replace(b"\n", b"\r\n"),
            good.replace(b"\n", b" x=y\n"),
            good.replace(b"suites=aes256gcm", b"suites=aes256gcx"),
            b"GET / HTTP/1.1\n",
            b"\n",
        ],
        b"too-long": [b"x" * 4128],
        b"protocol": [b"SR1 AUTH AAAA\n", good + b"x"],
        b"no-common-suite": [hello(suites=("rot13",))],
        b"no-common-group": [hello(groups=("x25519mlkem768",))],
    }
    for code, lines in wrong.items():
        for line in lines:
            assert answer_to(line) == b"SR1 ERR code=" + code + b"\n", line[:40]
    state = relay_state(groups=("x25519",))
    assert answer_to(good, state).startswith(b"SR1 HELLO ")
    assert answer_to(good, state) == b"SR1 ERR code=bad-line\n"  # a replayed knock


def test_low_order_points_and_foreign_lengths_are_bad_shares() -> None:
    for group in sr1.GROUPS:
        length = len(sr1.Ephemeral(group, rsa_key(9, 3072) if "rsa" in group else None).share)
        for share in (bytes(length), b"\xff" * length, b"\x01", bytes(length + 1)):
            if group == "x25519" and share == b"\xff" * 32:
                continue  # an ordinary point
            with pytest.raises(sr1.Wrong, match="bad-share"):
                sr1.answer_share(group, share)


def test_a_changed_byte_of_auth_is_auth_failed() -> None:
    state = relay_state()
    relay = sr1.Relay(state)
    core = sr1.ClientHandshake(authority().relay_id, credential())
    first, second = relay.receive(core.hello()).splitlines()
    core.server_hello(first)
    bad = second[:100] + (b"A" if second[100:101] != b"A" else b"B") + second[101:]
    with pytest.raises(sr1.Wrong, match="auth-failed"):
        core.server_auth(bad)
    line = core.server_auth(second)
    bad = line[:100] + (b"A" if line[100:101] != b"A" else b"B") + line[101:]
    assert relay.receive(bad) == b"SR1 ERR code=auth-failed\n"


def test_an_altered_binder_is_refused_and_the_ticket_survives() -> None:
    state = relay_state()
    (ticket, _) = client_of(sr1.Relay(state)).handshake().tickets
    bad = sr1.Ticket(ticket.id, bytes(48), ticket.expiry, ticket.relay_certificate)
    with pytest.raises(sr1.Told, match="err auth-failed"):
        client_of(sr1.Relay(state)).resume(bad)
    relay = sr1.Relay(state)
    client_of(relay).resume(ticket)
    assert relay.resumed


def test_the_relay_tells_expired_and_revoked_peers_so() -> None:
    state = relay_state()
    state.revoked.add("alice")
    with pytest.raises(sr1.Told, match="alert revoked"):
        client_of(sr1.Relay(state)).handshake()
    client = client_of(sr1.Relay(state))
    key, old = rsa_key(2), time.time() - 40 * 86400
    client.credential = sr1.Credential(
        authority().issue("peer", "dora", key.public_key(), old), sr1.signer(key)
    )
    with pytest.raises(sr1.Told, match="alert expired"):
        client.handshake()


def test_faulty_certificates_are_refused() -> None:
    ca, public, now = authority(), rsa_key(2).public_key(), time.time()
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    good = ca.issue("peer", "alice", public)
    assert sr1.check_certificate(good, ca.spki, "peer").name == "alice"
    sr1.check_certificate(ca.issue("peer", "a", public, extra=[(unknown, False)]), ca.spki, "peer")
    other = sr1.Authority(rsa_key(4))
    bad = {
        "role": ca.issue("relay", "alice", public),
        "two names": ca.issue("peer", "alice", public, names=["alice", "bob"]),
        "NUL": ca.issue("peer", "alice", public, names=["alice\0"]),
        "LF": ca.issue("peer", "alice\n", public),
        "upper case": ca.issue("peer", "Alice", public),
        "disagree": ca.issue("peer", "alice", public, uris=["securerelay:peer/bob"]),
        "two URIs": ca.issue("peer", "a", public, uris=["securerelay:peer/a"] * 2),
        "two usages": ca.issue("peer", "a", public, usages=list(sr1.USAGE.values())),
        "CA": ca.issue("peer", "alice", public, is_ca=True),
        "critical": ca.issue("peer", "alice", public, extra=[(unknown, True)]),
        "span": ca.issue("peer", "alice", public, now, 31),
        "foreign": other.issue("peer", "alice", public),
        "short": ca.issue("peer", "alice", rsa_key(5, 1024).public_key()),
        "cut": good[:-1],
        "longer": good + b"\0",
        "authority": ca.certificate(now),
    }
    for der in bad.values():
        with pytest.raises(sr1.Wrong, match="auth-failed"):
            sr1.check_certificate(der, ca.spki, "peer")


def test_an_invitation_survives_its_uri_and_typing_mistakes_are_found() -> None:
    for host in ("relay.example.org", "127.0.0.1", "2001:db8::1"):
        made = sr1.Invitation(host, 7443, "carol", bytes(range(32)))
        uri = made.uri()
        assert sr1.Invitation.parse(uri) == made
        assert len(uri.split("#sr1i_")[1]) == 104
        for bad in (uri[:-1], uri + "a", uri.replace("carol", "carla"), uri.upper()):
            with pytest.raises(ValueError, match="invitation"):
                sr1.Invitation.parse(bad)


def test_records_are_padded_and_a_flipped_bit_ends_the_session() -> None:
    relay = sr1.Relay(relay_state())
    client = client_of(relay)
    client.handshake()
    assert client.session.out.sequence == 0
    for size, wire in ((0, 272), (255, 272), (256, 1040), (4095, 4112), (16383, 16400)):
        sealed = sr1.Half("aes256gcm", dict(client.secrets), "c_ap").seal(sr1.DATA, bytes(size))
        assert len(sealed) == wire + 2
        assert int.from_bytes(sealed[:2], "big") == wire
    record = bytearray(client.session.out.seal(sr1.DATA, b"PING x\n"))
    record[-1] ^= 1
    assert relay.receive(bytes(record)) == b""
    assert relay.ended == "record"


def test_an_update_in_flight_when_a_rekey_begins_does_no_harm() -> None:
    relay = sr1.Relay(relay_state())
    client = client_of(relay)
    client.handshake()
    relay.send(sr1.encode("OK", 3))
    relay.update()
    relay.alert("rekey-due")
    client.rekey()
    assert client.receive() == sr1.Message("OK", (3,))
    talk(client, relay)
    agree(client, relay)


def test_a_rekey_with_a_foreign_signature_is_refused_by_either_side() -> None:
    relay = sr1.Relay(relay_state())
    client = client_of(relay)
    client.handshake()
    relay.state.sign = sr1.signer(rsa_key(4))
    with pytest.raises(sr1.Wrong, match="protocol"):
        client.rekey()
    relay = sr1.Relay(relay_state())
    client = client_of(relay)
    client.handshake()
    assert client.core is not None
    client.core.identity = sr1.Credential(b"", sr1.signer(rsa_key(4)))
    with pytest.raises(sr1.Wrong, match="record"):  # the ALERT is under keys we have left
        client.rekey()
    assert relay.ended == "protocol"


def test_messages_may_be_cut_anywhere() -> None:
    stream = b"".join(
        [
            sr1.encode("STREAM", "s" * 22, 0),
            sr1.encode("SEND", 1, "@room", 60, "-", body=b"a\nb"),
            sr1.encode("CALL", "t", "peer.list", body=b"{}"),
            sr1.encode("LISTEN", 5),
            sr1.encode("ACK", 9),
        ]
    )
    decoder, found = sr1.Decoder(sr1.FROM_CLIENT), []
    for at in range(len(stream)):
        found += decoder.feed(stream[at : at + 1])
    assert [one.verb for one in found] == ["STREAM", "SEND", "CALL", "LISTEN", "ACK"]
    assert found[1] == sr1.Message("SEND", (1, "@room", 60, "-"), b"a\nb")
    for bad in (b"ACK 01\n", b"ACK  1\n", b"ACK 1 \n", b"ack 1\n", b"OK 1\n", b"x" * 512):
        with pytest.raises(sr1.Wrong, match="protocol"):
            sr1.Decoder(sr1.FROM_CLIENT).feed(bad)
    with pytest.raises(sr1.Wrong, match="too-large"):
        sr1.Decoder(sr1.FROM_CLIENT, 10).feed(b"SEND 1 bob - - 11\n")


def test_it_works_over_a_socket() -> None:
    ours, theirs = socket.socketpair()
    relay = sr1.Relay(relay_state())
    thread = threading.Thread(target=relay.serve, args=(theirs,))
    thread.start()
    ours.settimeout(10)
    client = sr1.Client(authority().relay_id, credential()).attach(ours)
    client.handshake()
    client.rekey()
    client.send(sr1.encode("PING", "x"))
    assert client.close("bye") == "bye"
    thread.join(10)
    assert relay.messages == [sr1.Message("PING", ("x",))]
    agree(client, relay)


def test_hkdf_is_that_of_the_library() -> None:
    ours = sr1.expand(sr1.extract(bytes(48), b"input"), b"info", 32)
    assert ours == HKDF(hashes.SHA384(), 32, bytes(48), b"info").derive(b"input")
