"""An enrolled peer that turns bad: forged messages, greed, and text made to act."""

# More than 400 lines: what one bad peer can try, from header to mailbox, in one place.

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from typing import Any

import pytest

from tests.hostile import independent as sr1
from tests.hostile.siege import Peer, Siege, told

CONFIGURATION = """
[policy.send]
"*" = ["*"]
hermit = ["canary"]

[policy.see]
"*" = ["*"]
hermit = ["canary"]
"""

STREAM = sr1.encode("STREAM", "M" * 22, 0)


@pytest.fixture(scope="module")
def mallory(besieged_relay: Siege) -> Peer:
    """The bad peer."""
    return besieged_relay.enrol("mallory", 2)


@pytest.fixture(scope="module")
def bob(besieged_relay: Siege) -> Peer:
    """A victim."""
    return besieged_relay.enrol("bob", 3)


@pytest.fixture
def client(siege: Siege, mallory: Peer) -> sr1.Client:
    """A session of the bad peer."""
    return siege.enter(mallory)


def new_stream() -> str:
    return sr1.b64(os.urandom(16))


def end_of(client: sr1.Client, *messages: bytes) -> tuple[str, str]:
    """How the relay ends a session in which this is said."""
    client.send(b"".join(messages))

    def read() -> None:
        while True:
            client.receive()

    with contextlib.closing(client.wire):
        return told(read)


def call(client: sr1.Client, method: str, body: bytes) -> tuple[str, Any]:
    """Make a call; return the status and the answer."""
    client.send(sr1.encode("CALL", "t", method, body=body))
    while True:
        message = client.receive()
        if message.verb == "REPLY":
            assert message.tokens[0] == "t"
            assert message.body is not None
            assert message.body.isascii()
            answer = json.loads(message.body or b"{}")
            return str(message.tokens[1]), answer


def verdicts(client: sr1.Client, last: int) -> dict[int, str]:
    """Wait for the verdicts up to a seq: ``ok`` or a code."""
    found: dict[int, str] = {}
    done = 0
    while done < last:
        message = client.receive()
        if message.verb == "OK":
            assert isinstance(message.tokens[0], int)
            for seq in range(done + 1, message.tokens[0] + 1):
                found.setdefault(seq, "ok")
            done = message.tokens[0]
        elif message.verb == "NO":
            assert isinstance(message.tokens[0], int)
            found[message.tokens[0]] = str(message.tokens[1])
            done = max(done, message.tokens[0])
        elif message.verb == "PING":
            client.send(sr1.encode("PONG", message.tokens[0]))
    return found


# --- headers ---

BREACHES = [
    b"\n",
    b" \n",
    b"\r\n",
    b"PING\n",
    b"PING \n",
    b"PING x y\n",
    b"PING  x\n",
    b" PING x\n",
    b"PING x \n",
    b"PING x\r\n",
    b"ping x\n",
    b"PING " + b"x" * 23 + b"\n",
    b"PING \x1b[2J\n",
    b"PING x\0\n",
    b"PING \xe2\x80\xae\n",
    b"QUIT\n",
    b"SR1 ERR code=busy\n",
    b"OK 1\n",
    b"NO 1 unknown\n",
    b"GOT 1 bob 1\n",
    b"STOPPED replaced\n",
    b"MSG 1 canary bob AAAAAAAAAAAAAAAAAAAAAA 1 1 5\nhello",
    b"REPLY t ok 2\n{}",
    b"EVENT presence 2\n{}",
    b"a" * 512,
    b"SEND " + b"1" * 600,
    b"LISTEN -1\n",
    b"LISTEN +1\n",
    b"LISTEN 01\n",
    b"LISTEN 1_000\n",
    b"LISTEN 1e3\n",
    b"LISTEN 0x10\n",
    b"LISTEN 10000000000000000000\n",
    "LISTEN ١\n".encode(),
    "LISTEN ²\n".encode(),
    b"STREAM AAAA 0\n",
    b"STREAM " + b"A" * 23 + b" 0\n",
    b"STREAM ../../../../etc/passwd 0\n",
    b"STREAM " + b"A" * 21 + b"\xff 0\n",
    b"CALL t peer.list\n",
    b"CALL t peer.list -1\n",
    b"CALL t peer/list 0\n",
    b"CALL t PEER.LIST 0\n",
    b"CALL t __class__ 0\n",
    b"CALL t \x1b]0;x\x07 0\n",
    STREAM + b"SEND 1 bob - - \n",
    STREAM + b"SEND 1 bob - - -5\nhello",
    STREAM + b"SEND 1 bob - - 05\nhello",
    STREAM + b"SEND 0 bob - - 5\nhello",
    STREAM + b"SEND 1 bob - x 5\nhello",
    STREAM + b"SEND 1 bob -1 - 5\nhello",
    STREAM + b"SEND 1 Bob - - 5\nhello",
    STREAM + b"SEND 1 bob. - - 5\nhello",
    STREAM + b"SEND 1 @@bob - - 5\nhello",
    STREAM + b"SEND 1 * - - 5\nhello",
    STREAM + b"SEND 1 bob,canary - - 5\nhello",
    STREAM + b"SEND 1 " + b"b" * 33 + b" - - 5\nhello",
    STREAM + b"SEND 1 ../bob - - 5\nhello",
    STREAM + "SEND 1 bоb - - 5\nhello".encode(),  # its o is Cyrillic
    b"SEND 1 bob - - 5\nhello",
    b"ACK 1\n",
    STREAM + STREAM,
    b"LISTEN 0\nACK 9223372036854775807\n",
    b"LISTEN 0\nACK 9999999999999999999\n",
]


@pytest.mark.parametrize("said", BREACHES, ids=range(len(BREACHES)))
def test_what_the_grammar_does_not_have_is_a_breach(client: sr1.Client, said: bytes) -> None:
    assert end_of(client, said) == ("alert", "protocol")


def test_a_breach_is_one_whatever_comes_before_it_or_behind(client: sr1.Client) -> None:
    good = sr1.encode("PING", "x") * 100
    assert end_of(client, good + b"PING\n" + good) == ("alert", "protocol")


@pytest.mark.parametrize("length", [(1 << 20) + 1, 1 << 31, 1 << 32, 1 << 62, 10**18, 10**19 - 1])
def test_a_body_that_is_too_large_ends_the_session_before_it_comes(
    client: sr1.Client, length: int
) -> None:
    said = f"SEND 1 bob - - {length}\n".encode()
    assert end_of(client, STREAM + said) == ("alert", "too-large")


def test_the_largest_numbers_do_no_harm(siege: Siege, mallory: Peer, bob: Peer) -> None:
    """19 digits are allowed, which is more than 63 bits."""
    for number in (2**53, 2**63 - 1, 2**63, 10**19 - 1):
        client = siege.enter(mallory)
        client.send(sr1.encode("LISTEN", number) + sr1.encode("PING", "here"))
        while client.receive() != sr1.Message("PONG", ("here",)):
            pass
        client.wire.close()
        client = siege.enter(mallory)
        client.send(sr1.encode("STREAM", new_stream(), 0))
        client.send(sr1.encode("SEND", 1, "bob", number, "-", body=b"long-lived"))
        assert verdicts(client, 1) == {1: "ok"}
        client.send(sr1.encode("SEND", number, "bob", "-", "-", body=b"far away"))
        assert verdicts(client, number) == {number: "gap"}
        client.wire.close()


def test_seqs_again_ahead_and_backwards_deliver_nothing_twice(
    siege: Siege, mallory: Peer, bob: Peer
) -> None:
    """A seq counts, and not what comes under it: the first body that was taken is the message."""
    client = siege.enter(mallory)
    client.send(sr1.encode("STREAM", new_stream(), 0))
    order = [(2, "bob"), (1, "bob"), (1, "bob"), (3, "bob"), (1, "canary"), (2, "bob")]
    for seq, to in order:
        client.send(sr1.encode("SEND", seq, to, 600, "-", body=f"seqs {seq}".encode()))
    client.send(sr1.encode("SEND", 2, "canary", 600, "-", body=b"seqs 2"))
    said = []
    while said[-1:] != [("OK", (2,))]:
        message = client.receive()
        said.append((message.verb, message.tokens))
    assert ("NO", (2, "gap")) in said
    assert ("NO", (3, "gap")) in said
    client.close()
    reader = siege.enter(bob)
    reader.send(sr1.encode("LISTEN", 0))
    bodies: list[bytes | None] = []
    while b"seqs 2" not in bodies:
        message = reader.receive()
        if message.verb == "MSG":
            bodies.append(message.body)
            reader.send(sr1.encode("ACK", message.tokens[0]))
    assert [body for body in bodies if body and body.startswith(b"seqs")] == [b"seqs 1", b"seqs 2"]
    reader.close()


def test_what_comes_after_a_revocation_is_not_taken(siege: Siege, bob: Peer) -> None:
    """Its sender floods; nothing of it comes behind what was sent after the answer to `revoke`."""
    listener, other = siege.enter(bob), siege.enter(siege.canary)
    listener.send(sr1.encode("LISTEN", 0))
    other.send(sr1.encode("STREAM", new_stream(), 0))
    client = siege.enter(siege.enrol("doomed", 11))
    client.send(sr1.encode("STREAM", new_stream(), 0))
    assert client.receive().verb == "STREAM"
    said = 0

    def flood() -> None:
        nonlocal said
        with contextlib.suppress(OSError):
            while said < 100_000:
                said += 1
                client.send(sr1.encode("SEND", said, "bob", 600, "-", body=b"flood"))

    thread = threading.Thread(target=flood)
    thread.start()
    while said < 10:
        time.sleep(0.01)
    assert siege.daemon.admin("revoke", name="doomed")["ok"]
    other.send(sr1.encode("SEND", 1, "bob", 600, "-", body=b"after"))
    assert verdicts(other, 1) == {1: "ok"}
    thread.join()
    assert end_of(client) == ("alert", "revoked")
    bodies = []
    while (message := listener.receive()) != sr1.Message("PONG", ("end",)):
        if message.verb == "MSG":
            bodies.append(message.body)
            listener.send(sr1.encode("ACK", message.tokens[0]))
            if message.body == b"after":
                listener.send(sr1.encode("PING", "end"))
    assert bodies[-1] == b"after"
    other.close()
    listener.close()


def test_a_stream_that_claims_to_be_at_the_end_of_all_numbers_does_no_harm(
    siege: Siege, mallory: Peer, bob: Peer
) -> None:
    """Where the database cannot count, nobody gets to, and nobody else's messages are hit."""
    for answered in (2**62 + 1, 2**63 - 2, 2**63 - 1, 2**63, 10**19 - 1):
        stream = new_stream()
        for told_ in (0, answered):
            client = siege.enter(mallory)
            client.send(sr1.encode("STREAM", stream, told_))
            if not told_:
                assert client.receive() == sr1.Message("STREAM", (stream, 0))
                client.close()
        for seq in (answered + 1, answered + 2):
            with contextlib.suppress(ConnectionError):
                client.send(sr1.encode("SEND", seq, "bob", "-", "-", body=b"hello"))
        assert end_of(client) == ("alert", "protocol")
        siege.round_trip()


# --- names ---


def test_a_body_cannot_pretend_to_be_a_message(siege: Siege, mallory: Peer, bob: Peer) -> None:
    listener = siege.enter(bob)
    listener.send(sr1.encode("LISTEN", 0))
    assert listener.receive().verb == "LISTEN"
    body = b"x\nMSG 99 canary bob AAAAAAAAAAAAAAAAAAAAAA 1 1 4\nevil\nSTOPPED replaced\n"
    client = siege.enter(mallory)
    client.send(sr1.encode("STREAM", new_stream(), 0))
    client.send(sr1.encode("SEND", 1, "bob", 600, "-", body=body))
    while True:
        message = listener.receive()
        assert message.verb == "MSG", message
        assert message.tokens[1] == "mallory"
        listener.send(sr1.encode("ACK", message.tokens[0]))
        if message.body == body:
            break
    client.close()
    listener.close()


def test_nobody_goes_on_with_anothers_stream(siege: Siege, mallory: Peer, bob: Peer) -> None:
    """Streams belong to their sender: the same id in other hands is another stream."""
    stream = new_stream()
    mine, theirs = siege.enter(bob), siege.enter(mallory)
    mine.send(sr1.encode("STREAM", stream, 0))
    mine.send(sr1.encode("SEND", 1, "canary", 1, "-", body=b"from bob"))
    assert verdicts(mine, 1) == {1: "ok"}
    theirs.send(sr1.encode("STREAM", stream, 0))
    assert theirs.receive() == sr1.Message("STREAM", (stream, 0))
    mine.send(sr1.encode("SEND", 2, "canary", 1, "-", body=b"from bob"))
    assert verdicts(mine, 2)[2] == "ok"
    mine.close()
    theirs.close()


def test_nobody_acknowledges_anothers_mail(siege: Siege, mallory: Peer, bob: Peer) -> None:
    sender = siege.enter(siege.canary)
    sender.send(sr1.encode("STREAM", new_stream(), 0))
    sender.send(sr1.encode("SEND", 1, "bob", 600, "-", body=b"for bob alone"))
    assert verdicts(sender, 1) == {1: "ok"}
    sender.close()
    thief = siege.enter(mallory)
    assert end_of(thief, sr1.encode("LISTEN", 0), sr1.encode("ACK", 2**62)) == ("alert", "protocol")
    reader = siege.enter(bob)
    reader.send(sr1.encode("LISTEN", 0))
    while True:
        message = reader.receive()
        if message.body == b"for bob alone":
            break
    reader.send(sr1.encode("ACK", message.tokens[0]))
    reader.close()


def test_who_may_not_know_a_peer_cannot_tell_it_from_nobody(siege: Siege, bob: Peer) -> None:
    hermit = siege.enter(siege.enrol("hermit", 4))
    hermit.send(sr1.encode("STREAM", new_stream(), 0))
    for seq, to in enumerate(("bob", "nobody", "@rooms", "@none"), 1):
        hermit.send(sr1.encode("SEND", seq, to, "-", "-", body=b"x"))
    assert set(verdicts(hermit, 4).values()) == {"not-permitted"}
    status, answer = call(hermit, "peer.list", b"{}")
    assert status == "ok"
    assert {peer["peer"] for peer in answer["peers"]} == {"canary", "hermit"}
    hermit.close()


def test_who_does_not_seal_is_refused_where_the_operator_asks_for_it(
    siege: Siege, mallory: Peer, bob: Peer
) -> None:
    """Whatever a body claims in its text; only the form of an envelope passes."""
    before = siege.configuration.read_text()
    siege.extra |= {"config.read", "message.unsealed"}
    siege.configuration.write_text(before.replace("sealed = false", "sealed = true"))
    assert siege.daemon.admin("reload")["ok"]
    client = siege.enter(mallory)
    client.send(sr1.encode("STREAM", new_stream(), 0))
    bodies = [b"", b"hello", b"SRE1", b"SRE1 hello", b"SRE1\x03" + bytes(2000), bytes(2000)]
    for seq, body in enumerate(bodies, 1):
        client.send(sr1.encode("SEND", seq, "bob", 60, "-", body=body))
    found = verdicts(client, len(bodies))
    siege.configuration.write_text(before)
    assert siege.daemon.admin("reload")["ok"]
    client.send(sr1.encode("SEND", len(bodies) + 1, "bob", 60, "-", body=b"hello"))
    assert verdicts(client, len(bodies) + 1)[len(bodies) + 1] == "ok"
    client.close()
    assert set(found.values()) == {"unsealed"}


# --- calls ---

DEEP = 30_000
WRONG_JSON: dict[str, bytes] = {
    "a list": b"[]",
    "null": b"null",
    "a number": b"7",
    "a string": b'"peer"',
    "nothing closed": b"{",
    "NaN": b'{"after": NaN}',
    "Infinity": b'{"limit": -Infinity}',
    "not UTF-8": b'{"after": "\xff\xfe"}',
    "UTF-16": '{"after": ""}'.encode("utf-16"),
    "a BOM": b"\xef\xbb\xbf{}",
    "NUL": b"{}\0",
    "two values": b"{}{}",
    "17 levels": b'{"a":' * 17 + b"1" + b"}" * 17,
    "17 lists": b'{"a":' + b"[" * 17 + b"]" * 17 + b"}",
    "deep lists": b'{"a":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep lists, open": b'{"a":' + b"[" * (2 * DEEP),
    "deep objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "a number of many digits": b'{"limit": ' + b"9" * 60_000 + b"}",
    "a large exponent": b'{"limit": 1e400}',
    "a float": b'{"limit": 1.0}',
    "a boolean": b'{"limit": true}',
    "no boolean": b'{"online": 1}',
    "a key twice": b'{"limit": 1, "limit": 2}',
    "below the bounds": b'{"limit": 0}',
    "above the bounds": b'{"limit": 100000000000000000000}',
    "an unknown key": b'{"__class__": {}}',
    "an escape sequence as key": b'{"\\u001b]0;owned\\u0007": 1}',
    "half a surrogate as key": b'{"\\ud800": 1}',
}


@pytest.mark.parametrize("what", WRONG_JSON)
def test_wrong_json_is_a_bad_request(client: sr1.Client, what: str) -> None:
    status, answer = call(client, "peer.list", WRONG_JSON[what])
    assert status == "bad-request"
    assert answer["message"].isprintable()
    assert call(client, "peer.list", b"{}")[0] == "ok"
    client.close()


@pytest.mark.parametrize(
    ("method", "body", "status"),
    [
        ("peer.list", b" " * 65_537, "too-large"),
        ("peer.list", b'{"after": "' + b"\\u0000" * 100 + b'"}', "ok"),
        ("peer.list", b'{"after": "\\ud800"}', "ok"),
        ("peer.list", b'{"after": "\xed\xa0\x80"}', "bad-request"),
        ("nothing", b"{}", "unknown-method"),
        ("a" * 64, b"{}", "unknown-method"),
        ("room.create", b'{"room": "@\\u001b[2J"}', "bad-request"),
        ("room.create", b'{"room": "@../x"}', "bad-request"),
        ("room.create", '{"room": "@tеam"}'.encode(), "bad-request"),
        ("room.create", b'{"room": "@everyone"}', "bad-request"),
        ("room.members", b'{"room": "@nowhere"}', "unknown"),
        ("room.add", b'{"room": "@nowhere", "peers": ["bob"]}', "unknown"),
        ("room.add", b'{"room": "@nowhere", "peers": [{}]}', "bad-request"),
        ("room.delete", b'{"room": "@nowhere", "version": 18446744073709551616}', "bad-request"),
        ("invite.create", b'{"name": "friend"}', "not-permitted"),
        ("invite.create", b'{"name": "friend", "expires": 1}', "bad-request"),
    ],
)
def test_a_call_gets_its_refusal(client: sr1.Client, method: str, body: bytes, status: str) -> None:
    assert call(client, method, body)[0] == status
    client.close()


def test_renewing_and_inviting_take_a_certificate_and_no_ticket(
    siege: Siege, mallory: Peer
) -> None:
    client = siege.client(mallory.credential)
    ticket, _ = client.handshake().tickets
    client.close()
    client = siege.client(mallory.credential)
    client.resume(ticket)
    for method in ("cert.renew", "invite.create"):
        assert call(client, method, b'{"name": "friend"}')[0] == "not-permitted"
    client.close()


def test_a_flood_of_calls_slows_only_its_maker(siege: Siege, client: sr1.Client) -> None:
    asked = sr1.encode("CALL", "t", "peer.list", body=b"{}")
    answers: list[sr1.Message] = []
    reader = threading.Thread(target=lambda: answers.extend(client.receive() for _ in range(600)))
    reader.start()
    client.send(asked * 600)
    for _ in range(20):
        siege.round_trip()
    reader.join()
    assert {message.verb for message in answers} == {"REPLY"}
    assert {message.tokens[1] for message in answers} <= {"ok", "rate", "busy"}
    assert "rate" in {message.tokens[1] for message in answers}
    client.close()


def test_listening_again_and_again_is_a_breach_in_the_end(client: sr1.Client) -> None:
    assert end_of(client, sr1.encode("LISTEN", 0) * 2000) == ("alert", "protocol")


# --- greed ---


def test_one_sender_fills_a_tenth_of_a_mailbox_and_no_more(siege: Siege, mallory: Peer) -> None:
    victim = siege.enrol("victim", 5)
    client = siege.enter(mallory)
    client.send(sr1.encode("STREAM", new_stream(), 0))
    client.send(
        b"".join(
            sr1.encode("SEND", seq, "victim", 600, "-", body=b"x" * 10) for seq in range(1, 1002)
        )
    )
    found = verdicts(client, 1001)
    assert [seq for seq, code in found.items() if code != "ok"] == [1001]
    assert found[1001] == "mailbox-full"
    client.close()
    other = siege.enter(siege.canary)
    other.send(sr1.encode("STREAM", new_stream(), 0))
    other.send(sr1.encode("SEND", 1, "victim", 600, "-", body=b"from a friend"))
    assert verdicts(other, 1) == {1: "ok"}
    other.close()
    reader = siege.enter(victim)
    reader.send(sr1.encode("LISTEN", 0))
    bodies = 0
    while bodies < 1001:
        message = reader.receive()
        if message.verb == "MSG":
            bodies += 1
            reader.send(sr1.encode("ACK", message.tokens[0]))
    assert message.body == b"from a friend"
    reader.close()


def test_who_sends_too_fast_is_told_so_and_others_are_not_slowed(
    siege: Siege, mallory: Peer
) -> None:
    """The burst of 10,000 passes, as far as its reader makes room; what is more comes again."""
    client, listener = siege.enter(mallory), siege.enter(mallory)
    listener.send(sr1.encode("LISTEN", 0))

    def read() -> None:
        with contextlib.suppress(OSError, sr1.Told):
            while True:
                message = listener.receive()
                if message.verb == "MSG":
                    listener.send(sr1.encode("ACK", message.tokens[0]))

    reader = threading.Thread(target=read)
    reader.start()
    client.send(sr1.encode("STREAM", new_stream(), 0))
    codes, last = set[str](), 0
    while "rate" not in codes:
        assert last < 100_000
        # All at once, and with ttl 0, which costs no disk: a busy machine must be too fast, too.
        said = [sr1.encode("SEND", last + n, "mallory", 0, "-", body=b"") for n in range(1, 20_001)]
        client.send(b"".join(said))
        last += len(said)
        siege.round_trip()
        codes = set(verdicts(client, last).values())
        assert codes <= {"ok", "mailbox-full", "rate", "gap"}
    client.wire.close()
    listener.wire.close()
    reader.join()


def test_a_reader_that_stops_costs_a_bounded_amount_and_keeps_its_mail(siege: Siege) -> None:
    """It listens and reads nothing, while a friend sends it more than any buffer holds."""
    sleeper = siege.enrol("sleeper", 6)
    wire = siege.connect(receive=4096)
    stopped = sr1.Client(siege.relay_id, sleeper.credential).attach(wire)
    stopped.handshake()
    stopped.send(sr1.encode("LISTEN", 0))
    before = siege.memory()
    client = siege.enter(siege.enrol("friend", 7))
    client.send(sr1.encode("STREAM", new_stream(), 0))
    count, body = 12, os.urandom(1 << 20)
    for seq in range(1, count + 1):
        client.send(sr1.encode("SEND", seq, "sleeper", 600, "-", body=body))
        siege.round_trip()
    assert set(verdicts(client, count).values()) == {"ok"}
    assert siege.memory() - before < 48 << 20
    client.close()
    wire.close()
    reader = siege.enter(sleeper)
    reader.send(sr1.encode("LISTEN", 0))
    got = 0
    while got < count:
        message = reader.receive()
        if message.verb == "MSG":
            assert message.body == body
            got += 1
            reader.send(sr1.encode("ACK", message.tokens[0]))
    reader.close()


def test_who_asks_and_never_reads_the_answers_is_not_listened_to(
    siege: Siege, mallory: Peer
) -> None:
    """Its own output waits, so its input does: the socket fills up and it can say no more."""
    wire = siege.connect(receive=4096)
    client = sr1.Client(siege.relay_id, mallory.credential).attach(wire)
    client.handshake()
    wire.setblocking(False)
    before, sent, quiet = siege.memory(), 0, 0
    pending = b""
    ping = sr1.encode("PING", "x" * 22) * 560
    while quiet < 20 and sent < 64 << 20:
        pending = pending or client.session.out.seal(sr1.DATA, ping)
        try:
            done = wire.send(pending)
        except BlockingIOError:
            quiet += 1
            time.sleep(0.05)
            siege.round_trip()
            continue
        pending, sent, quiet = pending[done:], sent + done, 0
    assert quiet == 20, f"{sent} bytes were taken"
    assert siege.memory() - before < 32 << 20
    wire.close()


def test_a_peer_has_a_few_sessions_and_the_newest_stay(siege: Siege, mallory: Peer) -> None:
    clients = [siege.enter(mallory) for _ in range(6)]
    for client in clients[:2]:
        assert told(client.receive) in (("alert", "replaced"), ("close", "replaced"))
        client.wire.close()
    for client in clients[2:]:
        client.send(sr1.encode("PING", "here"))
        assert client.receive() == sr1.Message("PONG", ("here",))
        client.close()


def test_a_message_of_a_byte_a_record_arrives_whole(siege: Siege, mallory: Peer) -> None:
    client = siege.enter(mallory)
    said = sr1.encode("CALL", "t", "peer.list", body=b"{}" + b" " * 2000)
    client.wire.sendall(
        b"".join(client.session.out.seal(sr1.DATA, said[at : at + 1]) for at in range(len(said)))
    )
    assert client.receive().tokens == ("t", "ok")
    client.close()


def test_a_session_that_is_reset_in_the_middle_of_everything_leaves_nothing(
    siege: Siege, mallory: Peer
) -> None:
    for _ in range(50):
        client = siege.enter(mallory)
        client.send(sr1.encode("STREAM", new_stream(), 0) + sr1.encode("LISTEN", 0))
        client.send(sr1.encode("SEND", 1, "canary", 1, "r", body=b"never mind"))
        client.send(sr1.encode("CALL", "t", "peer.watch", body=b"{}"))
        wire: Any = client.wire
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        wire.close()
