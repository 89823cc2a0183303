"""A bad peer and the methods: junk for each, names, sizes, and renewals by strangers."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import pytest

from securerelay.relay.methods import METHODS
from tests import keys
from tests.hostile import independent as sr1
from tests.hostile.siege import Peer, Siege, told
from tests.hostile.test_application import call, end_of

PACE = 0.025
"""Seconds between calls of one peer, which may make fifty in a second."""
REFUSALS = frozenset(
    {
        *("bad-request", "too-large", "not-permitted", "rate", "unknown", "too-many"),
        *("name-taken", "room-changed", "bundle-bad", "list-bad", "unproven"),
    }
)
PARAMETERS = (
    *("after", "limit", "online", "key", "proof", "name", "expires", "room", "join", "post"),
    *("owner", "version", "peers", "list", "lists", "bundle", "size", "inclusion", "consistency"),
    *("from", "to", "other"),
)
JUNK: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 63, 2**31, 2**53, 2**63, 2**64, 10**40, 0.0, 1.5, 1e300),
    *("", "bob", "mallory", "@junk", "@", "x" * 33, "x" * 5000, "\0", "\x1b[2J", "\ud800", "é"),
    *("AAAA", "A" * 14_000, "=", [], [[]], {}, {"room": "@junk"}, [{"room": "@junk"}], ["bob"]),
    *(["bob", "bob"], ["x"] * 70, [None], [1, 2], [2, 1], [{}] * 30, {"a": {"b": []}}),
)


@pytest.fixture(scope="module")
def mallory(besieged_relay: Siege) -> Peer:
    """The bad peer."""
    return besieged_relay.enrol("mallory", 2)


def events(siege: Siege) -> None:
    """What a peer that may make rooms leaves in the log."""
    siege.extra |= {"room.made", "room.deleted", "key.issued", "key.replaced"}


@pytest.mark.parametrize("method", sorted(METHODS))
def test_junk_gets_an_answer_of_a_line_and_ends_nothing(
    siege: Siege, mallory: Peer, method: bytes
) -> None:
    """Forty calls with a few parameters each, of every type there is; the session goes on."""
    events(siege)
    chance = random.Random(method)
    client = siege.enter(mallory)
    call(client, "room.create", b'{"room": "@junk"}')
    for _ in range(40):
        asked = {key: chance.choice(JUNK) for key in chance.sample(PARAMETERS, chance.randrange(5))}
        for key in chance.sample(PARAMETERS, 3):  # so that some calls get past their first check
            asked.setdefault(key, {"room": "@junk", "peers": ["bob"], "version": 1}.get(key))
        chosen = {key: value for key, value in asked.items() if value is not None}
        time.sleep(PACE)
        status, answer = call(client, method.decode(), json.dumps(chosen).encode())
        assert status == "ok" or status in REFUSALS, (chosen, answer)
        if status != "ok":
            assert answer["message"].isprintable(), chosen
            assert len(answer["message"]) < 300, chosen
    assert call(client, "relay.status", b"")[0] == "ok"
    call(client, "room.delete", b'{"room": "@junk"}')
    client.close()


def test_parameters_are_read_up_to_their_limit_and_a_body_up_to_its_own(
    siege: Siege, mallory: Peer
) -> None:
    client = siege.enter(mallory)
    for size, expected in ((65_535, "ok"), (65_536, "ok"), (65_537, "too-large")):
        body = b'{"after":"' + b"a" * (size - 12) + b'"}'
        assert call(client, "peer.list", body)[0] == expected
    for body in (b'{"after":[%b]}' % b",".join([b"{}"] * 20_000), b"," * 65_536, bytes(1 << 20)):
        assert call(client, "peer.list", body)[0] == "too-large"
    assert end_of(client, b"CALL t peer.list 1048577\n") == ("alert", "too-large")


def test_a_room_has_a_name_of_its_own(siege: Siege, mallory: Peer) -> None:
    """Reserved words, look-alikes and what is no name; and one peer has 64 rooms at most."""
    events(siege)
    client = siege.enter(mallory)

    def create(name: str) -> str:
        time.sleep(PACE)
        return call(client, "room.create", json.dumps({"room": name}).encode())[0]

    for name in ("@admin", "@all", "@everyone", "@relay", "@room", "@me", "@securerelay"):
        assert create(name) == "bad-request", name
    for name in ("", "@", "room", "@A", "@a.", "@-a", "@a/b", "@a\n", "@@a", "@" + "a" * 33):
        assert create(name) == "bad-request", name
    assert create("@model") == "ok"
    for name in ("@model", "@m0del", "@mode1", "@rnodel"):
        assert create(name) == "name-taken", name
    made = [name for n in range(70) if create(name := f"@r{n}") == "ok"]
    assert len(made) == 63
    assert create("@onemore") == "too-many"
    for name in (*made, "@model"):
        time.sleep(PACE)
        assert call(client, "room.delete", json.dumps({"room": name}).encode())[0] == "ok"
    client.close()


def test_only_who_has_the_next_key_gets_a_certificate_for_it_and_only_there(siege: Siege) -> None:
    """Proofs of another session, name, key or purpose; then the true one, which ends the old."""
    events(siege)
    mine, next_ = keys.rsa_key(2048, 13), keys.rsa_key(2048, 14)
    renewer = siege.enrol("renewer", 13)
    client = siege.enter(renewer)
    here, spki = client.secrets["session_id"], sr1.spki_of(next_.public_key())

    def asked(
        key: bytes = spki,
        session: bytes = here,
        name: bytes = b"renewer",
        signer: Any = next_,
        context: bytes = b"securerelay/1 renew possession",
    ) -> bytes:
        items = sr1.item(1, session) + sr1.item(2, name) + sr1.item(3, key)
        proof = sr1.signer(signer)(context, sr1.sha384(items))
        return json.dumps({"key": sr1.b64(key), "proof": sr1.b64(proof)}).encode()

    other = siege.enter(renewer)
    weak = keys.rsa_key(1024)
    for wrong in (
        asked(session=bytes(16)),
        asked(session=other.secrets["session_id"]),
        asked(name=b"canary"),
        asked(signer=mine),
        asked(signer=keys.rsa_key(2048, 15)),
        asked(context=sr1.POSSESSION),
        asked(context=sr1.PEER_REKEY),
        asked(key=sr1.spki_of(weak.public_key()), signer=weak),
        asked(key=spki + b"\0"),
        json.dumps({"key": sr1.b64(spki), "proof": "AAAA"}).encode(),
    ):
        time.sleep(PACE)
        assert call(client, "cert.renew", wrong)[0] == "unproven"
    other.close()
    status, answer = call(client, "cert.renew", asked())
    assert status == "ok"
    credential = sr1.Credential(sr1.unb64(answer["certificate"].encode()), sr1.signer(next_))
    siege.enter(renewer).close()  # nothing has changed yet
    successor = siege.client(credential)
    successor.handshake()
    assert told(client.receive) == ("alert", "revoked")
    assert told(lambda: siege.enter(renewer)) == ("alert", "revoked")
    successor.send(sr1.encode("PING", "here"))
    assert successor.receive() == sr1.Message("PONG", ("here",))
    successor.close()
