"""SecureRelay and the independent implementation both reproduce the vectors, byte for byte."""

from __future__ import annotations

import datetime
import functools
import json
import pathlib
from typing import Any

import pytest

from securerelay.crypto import contexts, primitives
from securerelay.crypto.groups import GROUPS, Offer
from securerelay.identity import certificates
from securerelay.identity.invitation import Invitation
from securerelay.protocol import hello, schedule
from securerelay.protocol.connection import Authenticated as Peer
from securerelay.protocol.connection import (
    ClientConfig,
    ClientTicket,
    Credential,
    Enrolment,
    EnrolmentRequest,
    NewTicket,
    RelayConfig,
    Resumption,
)
from securerelay.protocol.hello import KnockMemory
from securerelay.protocol.records import Kind, Opener, Sealer
from tests.hostile import independent as sr1
from tests.protocol.ends import ClientSide, RelaySide
from tests.vectors.generate import Recorder
from tests.vectors.material import offer_of, private_of

FOLDER = pathlib.Path(__file__).parent
HANDSHAKES = sorted(path.stem for path in FOLDER.glob("handshake-*.json"))
HEX = bytes.fromhex


@functools.cache
def load(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text("ascii"))


def test_there_is_a_handshake_for_every_group_and_every_way() -> None:
    ways = ["chacha20poly1305", "retry", "resumption", "retry-resumption", "enrolment"]
    assert sorted(f"handshake-{name}" for name in [*GROUPS, *ways]) == HANDSHAKES


# --- whole sessions, by the independent implementation ---


@pytest.mark.parametrize("name", HANDSHAKES)
def test_the_independent_implementation_reproduces_every_session(name: str) -> None:
    vector = load(name)
    again = Recorder(load("keys")).session(
        vector["name"],
        tuple(vector["relay_groups"]),
        tuple(vector["client_groups"]),
        vector["suite"],
        vector["ticket"],
        vector["newcomer"],
        replay=vector,
    )
    assert json.loads(json.dumps(again)) == vector


# --- whole sessions, by SecureRelay ---


class FixedGroup:
    """A group whose exchanges are those of a vector."""

    def __init__(self, name: str, vector: dict[str, Any]) -> None:
        self.name = name
        self.exchanges = iter(vector["exchanges"])
        self.private = vector["privates"].get(name)

    def offer(self) -> Offer:
        return offer_of(self.name, HEX(self.private))

    def answer(self, share: bytes) -> tuple[bytes, bytes]:
        exchange = next(self.exchanges)
        assert share.hex() == exchange["client_share"]
        return HEX(exchange["relay_share"]), HEX(exchange["z"])


class Signatures:
    """Plays back what one side signed, and sees that it signs the same."""

    def __init__(self, vector: dict[str, Any], by: str) -> None:
        self.left = [one for one in vector["signatures"] if one["by"] == by]

    def __call__(self, context: bytes, digest: bytes) -> bytes:
        one = self.left.pop(0)
        assert (context.decode(), digest.hex()) == (one["context"], one["digest"])
        assert context in contexts.SIGNING
        return HEX(one["signature"])


class Replay:
    """What both ends of a replayed session have in common."""

    def __init__(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.vector, self.keys = load(name), load("keys")
        self.now = 1000.0
        self.derived: set[bytes] = set()
        for group in self.vector["relay_groups"]:
            monkeypatch.setitem(GROUPS, group, FixedGroup(group, self.vector))
        for function in ("expand_label", "hkdf_extract"):
            original = getattr(primitives, function)
            monkeypatch.setattr(schedule, function, self._keeping(original))
        finished = schedule.finished
        monkeypatch.setattr(schedule, "finished", self._keeping(finished))

    def _keeping(self, function: Any) -> Any:
        def kept(*arguments: Any) -> bytes:
            value: bytes = function(*arguments)
            self.derived.add(value)
            return value

        return kept

    def seconds(self) -> float:
        return self.now

    def play(self, end: RelaySide | ClientSide, me: str, act: Any) -> None:
        """Feed one end what the other said, and see that it says what the vector says."""

        def said(expected: bytes) -> None:
            nonlocal out
            out += b"".join(end.out)
            end.out.clear()
            assert out[: len(expected)] == expected
            out = out[len(expected) :]

        out = b""
        for line in self.vector["lines"]:
            data = line["line"].encode() + b"\n"
            said(data) if line["from"] == me else end.connection.receive(data)
        for record in self.vector["records"]:
            if record["from"] == me:
                self.now += 1
                act(record["type"], HEX(record["content"]))
                said(HEX(record["record"]))
            else:
                end.connection.receive(HEX(record["record"]))
        assert all(one.error is None and one.orderly for one in end.ends)
        assert end.connection.session_id.hex() == self.vector["secrets"]["session_id"]

    def derived_everything(self) -> None:
        """Every secret of the vector came up, but for Z, which comes from the exchange."""
        for name, value in self.vector["secrets"].items():
            if name.split(" ")[-1] != "z":
                assert HEX(value) in self.derived, name
        for item in self.vector["items"]:
            if item["type"] in (0x06, 0x09):
                assert HEX(item["value"]) in self.derived


@pytest.mark.parametrize("name", HANDSHAKES)
def test_our_client_reproduces_every_session(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    replay = Replay(name, monkeypatch)
    vector, keys = replay.vector, replay.keys
    monkeypatch.setattr(primitives, "random_bytes", lambda _: HEX(vector["client_nonce"]))
    sign = Signatures(vector, "client")
    now = datetime.datetime.fromtimestamp(keys["now"], datetime.timezone.utc)
    certificate, spki = HEX(keys["relay_certificate"]), HEX(keys["spki"]["relay"])
    ticket = None
    if vector["ticket"] is not None:
        id_, psk = HEX(vector["ticket"]["id"]), HEX(vector["ticket"]["psk"])
        ticket = ClientTicket(id_, psk, keys["now"] + 86400, certificate, spki)
    credential: Credential | Enrolment = Credential(HEX(keys["peer_certificate"]), sign)
    if vector["newcomer"]:
        made = invitation(keys)
        new = HEX(keys["spki"]["new"])
        credential = Enrolment(made.token, made.name, made.signing_seed, new, sign)
    config = ClientConfig(
        HEX(keys["relay_id"]),
        lambda ca, der: certificates.check_relay(ca, der, now=now, name="box"),
        credential,
        ticket,
        groups=tuple(vector["client_groups"]),
    )
    client = ClientSide(config, replay.seconds)
    link = client.connection

    def act(kind: int, content: bytes) -> None:
        if kind == Kind.DATA:
            link.send(content)
        elif kind == Kind.UPDATE:
            assert link.update()
        elif kind == Kind.REKEY and content[0] == 1:
            assert link.rekey()
        elif kind == Kind.CLOSE:
            link.close(content.decode())

    link.start()
    replay.play(client, "client", act)
    replay.derived_everything()
    assert sign.left == []
    tickets = [ticket for welcome in client.welcomes for ticket in welcome.tickets]
    assert {f"psk {sr1.b64(one.id)}": one.psk.hex() for one in tickets} == psks(vector)
    if vector["newcomer"]:
        der = client.welcomes[0].certificate
        assert der == HEX(vector["certificate"])
        certificates.check_enrolled(
            HEX(keys["spki"]["ca"]), der, name="carol", spki=HEX(keys["spki"]["new"]), now=now
        )
    else:
        assert [welcome.resumed for welcome in client.welcomes] == [vector["resumed"]] * 2


def psks(vector: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in vector["secrets"].items() if name.startswith("psk ")}


def invitation(keys: dict[str, Any]) -> Invitation:
    """The one that the vector of enrolment uses."""
    return Invitation(
        HEX(keys["relay_id"]),
        b"token!",
        bytes(range(16)),
        keys["now"] + 86400,
        "127.0.0.1",
        7443,
        "carol",
    )


class ReplayRelay(RelaySide):
    """A relay whose host says what the vector says."""

    replay: Replay
    kept: dict[str, str]

    def begin(self, replay: Replay) -> ReplayRelay:
        self.replay, self.kept = replay, {}
        self.signs = Signatures(replay.vector, "relay")
        self.welcomes = [
            json.loads(HEX(one["content"]))
            for one in replay.vector["records"]
            if one["type"] == Kind.WELCOME
        ]
        return self

    def sign(self, context: bytes, digest: bytes) -> None:
        self.connection.signed(self.signs(context, digest))

    def find_invitation(self, token: bytes) -> None:
        made = invitation(self.replay.keys)
        assert token == made.token
        self.connection.invitation_found(made.public_key)

    def _welcome(self, tickets: tuple[NewTicket, ...]) -> None:
        self.kept |= {f"psk {sr1.b64(one.id)}": one.psk.hex() for one in tickets}
        self.connection.welcome(self.welcomes.pop(0))

    def authenticated(self, peer: Peer) -> None:
        self.peer = peer
        self._welcome(peer.tickets)

    def rekeyed(self, tickets: tuple[NewTicket, ...]) -> None:
        self._welcome(tickets)

    def enrolling(self, request: EnrolmentRequest) -> None:
        self.newcomer = request
        self._welcome(())


@pytest.mark.parametrize("name", HANDSHAKES)
def test_our_relay_reproduces_every_session(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    replay = Replay(name, monkeypatch)
    vector, keys = replay.vector, replay.keys
    ids = iter(vector["ticket_ids"])
    monkeypatch.setattr(
        primitives,
        "random_bytes",
        lambda count: HEX(vector["relay_nonce"]) if count == 32 else HEX(next(ids)),
    )
    authority = primitives.load_rsa_spki(HEX(keys["spki"]["ca"]))
    assert authority is not None
    config = RelayConfig(
        HEX(keys["relay_id"]),
        HEX(keys["spki"]["ca"]),
        HEX(keys["relay_certificate"]),
        lambda der: certificates.check_peer(authority, der),
        KnockMemory(),
        suites=(vector["suite"],),
        groups=tuple(vector["relay_groups"]),
    )
    relay = ReplayRelay(config, replay.seconds).begin(replay)
    link = relay.connection
    if vector["ticket"] is not None:
        id_, psk = HEX(vector["ticket"]["id"]), HEX(vector["ticket"]["psk"])
        old = Resumption(psk, "alice", HEX(keys["spki"]["peer"]), keys["now"] * 1000, bytes(32))
        relay.tickets = {primitives.sha256(id_): old}

    def act(kind: int, content: bytes) -> None:
        if kind == Kind.DATA:
            link.send(content)
        elif kind == Kind.UPDATE:
            assert link.update()

    replay.play(relay, "relay", act)
    replay.derived_everything()
    assert relay.signs.left == relay.welcomes == []
    assert relay.kept == psks(vector)
    if vector["newcomer"]:
        assert relay.newcomer == EnrolmentRequest(
            b"token!", "carol", HEX(keys["spki"]["new"]), link.session_id
        )
    else:
        assert relay.peer is not None
        assert (relay.peer.name, relay.peer.resumed) == ("alice", vector["resumed"])


# --- the parts ---


@pytest.mark.parametrize("vector", load("groups"), ids=lambda vector: vector["group"])
def test_every_exchange_agrees(vector: dict[str, Any]) -> None:
    group, seed = vector["group"], HEX(vector["client_private"])
    ours, theirs = offer_of(group, seed), sr1.Ephemeral(group, private_of(group, seed))
    assert ours.share == theirs.share == HEX(vector["client_share"])
    share = HEX(vector["relay_share"])
    assert ours.complete(share) == theirs.finish(share) == HEX(vector["z"])
    if vector["relay_private"] is not None:
        relay = offer_of(group, HEX(vector["relay_private"]))
        assert relay.share == share
        assert relay.complete(ours.share) == HEX(vector["z"])


@pytest.mark.parametrize("vector", load("records"), ids=lambda vector: vector["suite"])
def test_every_record_is_sealed_and_opened_alike(vector: dict[str, Any]) -> None:
    suite, rows = vector["suite"], vector["records"]
    secret = HEX(rows[0]["secret"])
    sealer, opener = Sealer(suite, secret), Opener(suite, secret)
    theirs = sr1.Half(suite, {"secret": secret}, "secret")
    for row in rows:
        kind, content, record = row["type"], HEX(row["content"]), HEX(row["record"])
        assert sealer._secret == theirs.secret == HEX(row["secret"])
        assert sealer.sequence == opener.sequence == theirs.sequence == row["sequence"]
        assert sealer.seal(kind, content, row["least"]) == record
        assert list(opener.open_all(record)) == [(kind, content)]
        assert theirs.open(record[2:]) == (kind, content)
        if kind == Kind.UPDATE:
            sealer.ratchet()
            opener.ratchet()
            theirs.update()


@pytest.mark.parametrize("vector", load("invitations"), ids=lambda vector: vector["host"])
def test_every_invitation_is_read_and_written_alike(vector: dict[str, Any]) -> None:
    ours, theirs = Invitation.parse(vector["uri"]), sr1.Invitation.parse(vector["uri"])
    assert ours.uri() == theirs.uri() == vector["uri"]
    for name in ("host", "port", "name", "expiry"):
        assert getattr(ours, name) == getattr(theirs, name) == vector[name]
    for name in ("relay_id", "token", "seed"):
        assert getattr(ours, name) == getattr(theirs, name) == HEX(vector[name])
    assert ours.signing_seed == HEX(vector["ed25519_seed"])
    assert ours.public_key == theirs.public == HEX(vector["ed25519_public"])


@pytest.mark.parametrize("vector", load("knocks"))
def test_every_knock_is_made_alike(vector: dict[str, Any]) -> None:
    relay_id, before = HEX(vector["relay_id"]), vector["before"].encode()
    key = hello.knock_key(relay_id)
    assert key == HEX(vector["key"])
    assert hello.knock(key, before) == sr1.knock(relay_id, before) == HEX(vector["to"])


def test_the_certificates_of_the_vectors_please_both() -> None:
    keys = load("keys")
    ca = HEX(keys["spki"]["ca"])
    now = datetime.datetime.fromtimestamp(keys["now"], datetime.timezone.utc)
    assert primitives.sha256(ca) == HEX(keys["relay_id"])
    relay, peer = HEX(keys["relay_certificate"]), HEX(keys["peer_certificate"])
    assert certificates.check_relay(ca, relay, now=now).name == "box"
    assert sr1.check_certificate(relay, ca, "relay").name == "box"
    assert sr1.check_certificate(peer, ca, "peer").name == "alice"
