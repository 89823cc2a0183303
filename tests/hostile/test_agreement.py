"""SecureRelay and the independent implementation understand each other and derive the same secrets.

Each has its own authority, certificates and schedule, over one authority's key; so a certificate
that either issues must please both, too.
"""

# More than 400 lines: each subject is looked at with either side in either role.

from __future__ import annotations

import datetime
import functools
from dataclasses import dataclass

import pytest

from securerelay.crypto import primitives
from securerelay.crypto.groups import GROUPS
from securerelay.crypto.primitives import SUITES
from securerelay.identity import certificates
from securerelay.identity.authority import Authority
from securerelay.identity.invitation import Invitation
from securerelay.protocol.connection import ClientConfig, Credential, Enrolment, EnrolmentRequest
from securerelay.protocol.hello import KnockMemory
from securerelay.protocol.lines import encode
from securerelay.protocol.link import Link
from securerelay.protocol.messages import MessageDecoder, client_decoder, ping, relay_decoder
from securerelay.protocol.steps import RelayConfig
from tests import keys
from tests.hostile import independent as sr1
from tests.protocol.ends import ALICE, RELAY, STRANGER, ClientSide, RelaySide, rsa_key, signer

NOW = datetime.datetime.now(datetime.timezone.utc)


def later() -> datetime.datetime:
    """A minute from now, however long the tests before this one took."""
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=1)


BOTH = [(group, suite) for group in GROUPS for suite in SUITES]
CA = 10


@functools.cache
def authority() -> Authority:
    return Authority.from_key(rsa_key(CA), NOW)


def spki(key: int) -> bytes:
    return primitives.spki(rsa_key(key).public_key())


def own_credential(name: str = "alice") -> Credential:
    return Credential(authority().issue_peer(name, spki(ALICE), NOW).der, signer(ALICE))


def their_credential(name: str = "alice") -> sr1.Credential:
    own = own_credential(name)
    return sr1.Credential(own.certificate, own.sign)


# --- our client, their relay ---


@dataclass
class OurClient:
    """SecureRelay's client at the independent relay."""

    state: sr1.RelayState
    config: ClientConfig

    def __post_init__(self) -> None:
        self.now = 1000.0
        self.relay = sr1.Relay(self.state)
        self.client = ClientSide(self.config, lambda: self.now)

    @property
    def link(self) -> Link:
        return self.client.connection

    def run(self) -> OurClient:
        self.client.connection.start()
        return self.pump()

    def pump(self) -> OurClient:
        moved = True
        while moved:
            data = b"".join(self.client.out)
            self.client.out.clear()
            said = self.relay.receive(data)
            self.client.connection.receive(said)
            moved = bool(data or said)
        return self

    def talk(self) -> None:
        body = bytes(range(256)) * 200
        before = len(self.relay.messages)
        self.client.connection.send(sr1.encode("SEND", 1, "bob", "-", "r", body=body) + ping(b"x"))
        self.relay.send(sr1.encode("MSG", 7, "bob", "@all", "A" * 22, 1, 17, body=body))
        self.client.received = b""
        self.pump()
        assert self.relay.messages[before:] == [
            sr1.Message("SEND", (1, "bob", "-", "r"), body),
            sr1.Message("PING", ("x",)),
        ]
        heard = Heard()
        heard.listen(client_decoder(heard), self.client.received)
        assert heard.said == [("msg", 7, b"bob", b"@all", b"A" * 22, 1, 17, body)]

    def agree(self) -> None:
        assert self.relay.session is not None
        assert self.client.ends == []
        root, session = self.link._root, self.relay.session
        assert root is not None
        secrets, prefix = self.relay.secrets, session.prefix
        assert self.link.session_id == secrets["session_id"]
        assert (self.link.suite, self.link.group) == (self.relay.suite, self.relay.group)
        assert root.exporter == secrets[prefix + "exporter"]
        assert root.secret == secrets[prefix + "rs"]
        assert self.link._sealer is not None
        assert self.link._opener is not None
        assert self.link._sealer._secret == session.into.secret
        assert self.link._opener._secret == session.out.secret
        kept = self.state.tickets
        for ticket in self.client.welcomes[-1].tickets:
            assert kept[primitives.sha256(ticket.id)].psk == ticket.psk


class Heard:
    """Takes whatever a decoder reads."""

    def __init__(self) -> None:
        self.said: list[tuple[object, ...]] = []

    def __getattr__(self, name: str) -> object:
        return lambda *words: self.said.append((name, *words))

    def listen(self, decoder: MessageDecoder, stream: bytes) -> None:
        decoder.feed(stream)


def their_state(**options: object) -> sr1.RelayState:
    return sr1.RelayState(sr1.Authority(rsa_key(CA)), rsa_key(RELAY), "box", **options)  # type: ignore[arg-type]


def own_config(**changes: object) -> ClientConfig:
    values: dict[str, object] = {
        "relay_id": authority().relay_id,
        "check_relay": lambda ca, der: certificates.check_relay(ca, der, now=NOW, name="box"),
        "credential": own_credential(),
        **changes,
    }
    return ClientConfig(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(("group", "suite"), BOTH)
def test_our_client_and_their_relay_agree_from_handshake_to_close(group: str, suite: str) -> None:
    state = their_state(groups=(group,), suites=(suite,))
    ends = OurClient(state, own_config(groups=(group,))).run()
    connection = ends.client.connection
    assert connection.established
    assert ends.relay.peer == "alice"
    ends.agree()
    ends.talk()
    for _ in range(2):
        ends.now += 0.1
        assert connection.update()
        ends.relay.update()
    ends.talk()
    ends.agree()
    assert connection.rekey()
    ends.talk()
    ends.agree()
    ends.now += 60
    assert connection.update()
    ends.relay.update()
    assert connection.rekey()
    ends.pump()
    ends.talk()
    ends.agree()
    assert [welcome.rekey for welcome in ends.client.welcomes] == [False, True, True]
    ticket = ends.client.ticket
    connection.close("done")
    ends.pump()
    assert [(end.code, end.orderly) for end in ends.client.ends] == [("done", True)]

    again = OurClient(state, own_config(groups=(group,), ticket=ticket)).run()
    assert again.relay.resumed
    assert again.client.welcomes[0].resumed
    again.agree()
    again.talk()
    assert again.client.connection.rekey()
    again.pump().talk()
    again.agree()


@pytest.mark.parametrize("group", GROUPS)
def test_our_client_follows_their_retry_and_resumes_through_one(group: str) -> None:
    other = next(one for one in ("x25519", "x25519mlkem768") if one != group)
    state = their_state(groups=(group, other))
    config = own_config(groups=(other, group))
    ends = OurClient(state, config).run()
    assert ends.relay.group == group
    assert [kind for kind, _ in ends.relay.items][:3] == [0x10, 0x11, 0x01]
    ends.agree()
    again = OurClient(state, own_config(groups=(other, group), ticket=ends.client.ticket)).run()
    assert again.relay.resumed
    again.agree()
    again.talk()


@pytest.mark.parametrize(("group", "suite"), BOTH)
def test_our_newcomer_enrols_at_their_relay(group: str, suite: str) -> None:
    state = their_state(groups=(group,), suites=(suite,))
    invitation = Invitation.parse(state.invite("carol").uri())
    enrolment = Enrolment(
        invitation.token, invitation.name, invitation.signing_seed, spki(STRANGER), signer(STRANGER)
    )
    ends = OurClient(state, own_config(groups=(group,), credential=enrolment)).run()
    (welcome,) = ends.client.welcomes
    assert welcome.certificate is not None
    certificates.check_enrolled(
        authority().spki, welcome.certificate, name="carol", spki=spki(STRANGER), now=later()
    )
    assert [(end.code, end.orderly) for end in ends.client.ends] == [("enrolled", True)]
    assert ends.link.session_id == ends.relay.secrets["session_id"]
    credential = Credential(welcome.certificate, signer(STRANGER))
    assert (
        OurClient(state, own_config(groups=(group,), credential=credential)).run().client.welcomes
    )


def test_our_client_reports_what_their_relay_refuses() -> None:
    state = their_state()
    state.revoked.add("alice")
    ends = OurClient(state, own_config()).run()
    assert [(end.code, end.by_peer) for end in ends.client.ends] == [("revoked", True)]
    ends = OurClient(their_state(suites=("aes256gcm",)), own_config(suites=("chacha20poly1305",)))
    ends.run()
    assert [(end.code, end.by_peer) for end in ends.client.ends] == [("no-common-suite", True)]


def test_their_relays_update_may_cross_our_offer_of_a_rekey() -> None:
    ends = OurClient(their_state(), own_config()).run()
    assert ends.client.connection.rekey()
    ends.relay.update()
    ends.relay.send(b"OK 1\n")
    ends.pump()
    ends.agree()
    ends.talk()


# --- their client, our relay ---


class OurRelay(RelaySide):
    """SecureRelay's relay with real certificates."""

    def find_invitation(self, token: bytes) -> None:
        self.connection.invitation_found(self.invitation)

    def enrolling(self, request: EnrolmentRequest) -> None:
        self.newcomer = request
        issued = authority().issue_peer(request.name, request.spki, NOW)
        self.connection.welcome({"time": 17, "certificate": encode(issued.der)})


class Wire:
    """A blocking client's wire into our relay."""

    def __init__(self, side: RelaySide) -> None:
        self.side = side
        self.inbox = bytearray()

    def sendall(self, data: bytes) -> None:
        self.side.connection.receive(data)

    def recv(self, size: int) -> bytes:
        self.inbox += b"".join(self.side.out)
        self.side.out.clear()
        data = bytes(self.inbox[:size])
        del self.inbox[:size]
        assert data or self.side.ends, "the relay has nothing to say and the client waits"
        return data

    def close(self) -> None:
        self.side.connection.lost()


def our_relay(**options: object) -> OurRelay:
    issued = authority().issue_relay("box", spki(RELAY), NOW)
    config = RelayConfig(
        authority().relay_id,
        authority().spki,
        issued.der,
        lambda der: certificates.check_peer(authority().public_key, der),
        KnockMemory(),
        **options,  # type: ignore[arg-type]
    )
    side = OurRelay(config, lambda: side.now)  # type: ignore[attr-defined]
    side.now = 1000.0  # type: ignore[attr-defined]
    return side


def their_client(side: RelaySide, **options: object) -> sr1.Client:
    privates = {"rsa3072-oaep": keys.rsa_key(3072)}
    made = sr1.Client(
        authority().relay_id, their_credential(), privates=privates, relay_name="box", **options
    )  # type: ignore[arg-type]
    return made.attach(Wire(side))


def talk(client: sr1.Client, side: RelaySide) -> None:
    body = bytes(range(256)) * 200
    side.received = b""
    client.send(sr1.encode("SEND", 1, "bob", 60, "-", body=body) + sr1.encode("PONG", "x"))
    heard = Heard()
    heard.listen(relay_decoder(heard), side.received)
    assert heard.said == [("send", 1, b"bob", 60, False, body), ("pong", b"x")]
    side.connection.send(b"OK 7\n" + sr1.encode("REPLY", "t", "ok", body=body))
    assert client.receive() == sr1.Message("OK", (7,))
    assert client.receive() == sr1.Message("REPLY", ("t", "ok"), body)


def agree(client: sr1.Client, side: RelaySide, tickets: tuple[sr1.Ticket, ...]) -> None:
    link, session, secrets = side.connection, client.session, client.secrets
    assert side.ends == []
    assert link._root is not None
    assert link._sealer is not None
    assert link._opener is not None
    assert link.session_id == secrets["session_id"]
    assert link._root.exporter == secrets[session.prefix + "exporter"]
    assert link._root.secret == secrets[session.prefix + "rs"]
    assert link._sealer._secret == session.into.secret
    assert link._opener._secret == session.out.secret
    assert len(tickets) == 2
    for ticket in tickets:
        assert side.tickets[primitives.sha256(ticket.id)].psk == ticket.psk


@pytest.mark.parametrize(("group", "suite"), BOTH)
def test_their_client_and_our_relay_agree_from_handshake_to_close(group: str, suite: str) -> None:
    side = our_relay(groups=(group,), suites=(suite,))
    client = their_client(side, groups=(group,))
    tickets = client.handshake().tickets
    assert side.peer is not None
    assert (side.peer.name, side.connection.group, side.connection.suite) == ("alice", group, suite)
    agree(client, side, tickets)
    talk(client, side)
    client.update()
    assert side.connection.update()
    client.update()
    talk(client, side)
    agree(client, side, tickets)
    for _ in range(2):
        assert client.core is not None
        client.core.privates["rekey"] = client.core.privates.get(group)
        fresh = client.rekey(group).tickets
        agree(client, side, fresh)
        side.now += 60  # type: ignore[attr-defined]
        assert side.connection.update()
        talk(client, side)
        agree(client, side, fresh)
    assert client.close("done") == "bye"
    assert [(end.code, end.orderly) for end in side.ends] == [("done", True)]

    again = our_relay(groups=(group,), suites=(suite,))
    again.tickets = side.tickets
    client = their_client(again, groups=(group,))
    tickets = client.resume(fresh[0]).tickets
    assert again.peer is not None
    assert again.peer.resumed
    agree(client, again, tickets)
    talk(client, again)
    assert client.core is not None
    client.core.privates["rekey"] = client.core.privates.get(group)
    agree(client, again, client.rekey(group).tickets)
    talk(client, again)


@pytest.mark.parametrize("group", GROUPS)
def test_their_client_follows_our_retry_and_resumes_through_one(group: str) -> None:
    other = next(one for one in ("x25519", "x25519mlkem768") if one != group)
    side = our_relay(groups=(group, other))
    client = their_client(side, groups=(other, group))
    tickets = client.handshake().tickets
    assert side.connection.group == group
    agree(client, side, tickets)
    again = our_relay(groups=(group, other))
    again.tickets = side.tickets
    client = their_client(again, groups=(other, group))
    tickets = client.resume(tickets[0]).tickets
    assert again.peer is not None
    assert again.peer.resumed
    agree(client, again, tickets)
    talk(client, again)


@pytest.mark.parametrize(("group", "suite"), BOTH)
def test_their_newcomer_enrols_at_our_relay(group: str, suite: str) -> None:
    side = our_relay(groups=(group,), suites=(suite,))
    made = Invitation(
        authority().relay_id, b"token!", bytes(16), 1 << 31, "relay.example.org", 7443, "carol"
    )
    side.invitation = made.public_key
    client = their_client(side, groups=(group,))
    credential = client.enrol(sr1.Invitation.parse(made.uri()), rsa_key(STRANGER))
    assert side.newcomer is not None
    assert (side.newcomer.token, side.newcomer.name) == (b"token!", "carol")
    assert side.newcomer.session_id == client.secrets["session_id"]
    assert [(end.code, end.orderly) for end in side.ends] == [("enrolled", True)]
    again = our_relay(groups=(group,), suites=(suite,))
    client = their_client(again, groups=(group,))
    client.credential = credential
    client.handshake()
    assert again.peer is not None
    assert again.peer.name == "carol"


def test_their_client_reads_what_our_relay_refuses() -> None:
    side = our_relay()
    side.refusal = "expired"
    with pytest.raises(sr1.Told, match="alert expired"):
        their_client(side).handshake()
    with pytest.raises(sr1.Told, match="err no-common-group"):
        their_client(our_relay(), groups=("x25519",)).handshake()


def test_our_relays_update_may_cross_their_offer_of_a_rekey() -> None:
    side = our_relay()
    client = their_client(side)
    client.handshake()
    assert side.connection.update()
    side.connection.send(b"OK 1\n")
    agree(client, side, client.rekey().tickets)
    assert client.receive() == sr1.Message("OK", (1,))
    talk(client, side)
