"""What both ends make of each other, for every group and AEAD."""

from __future__ import annotations

import pytest

from securerelay.crypto import primitives
from securerelay.crypto.groups import GROUPS
from securerelay.crypto.primitives import SUITES
from tests.protocol.ends import (
    ALICE,
    RELAY,
    RELAY_ID,
    STRANGER,
    TIME,
    Ends,
    certificate,
    check,
    client_config,
    credential,
    enrolment,
    relay_config,
    rsa_key,
)

ALL = tuple(GROUPS)


@pytest.mark.parametrize("group", ALL)
@pytest.mark.parametrize("suite", SUITES)
def test_every_group_and_suite_establishes_and_carries_data(group: str, suite: str) -> None:
    ends = Ends.make(
        relay_config(groups=(group,), suites=(suite,)), client_config(groups=(group,))
    ).run()
    assert ends.established
    assert (ends.relay.connection.group, ends.relay.connection.suite) == (group, suite)
    assert ends.relay.connection.session_id == ends.client.connection.session_id
    peer = ends.relay.peer
    assert peer is not None
    assert (peer.name, peer.certificate) == ("alice", certificate("alice", ALICE, "peer"))
    assert peer.certificate_sha256 == primitives.sha256(peer.certificate)
    assert peer.peer_spki == primitives.spki(rsa_key(ALICE).public_key())
    assert (peer.group, peer.suite, peer.auth_time) == (group, suite, None)
    assert peer.session_id == ends.client.connection.session_id
    (welcome,) = ends.client.welcomes
    assert (welcome.relay_name, welcome.relay_spki) == (
        "box",
        primitives.spki(rsa_key(RELAY).public_key()),
    )
    ends.exchange()


@pytest.mark.parametrize("group", ALL)
def test_a_retry_leads_to_the_group_the_relay_prefers(group: str) -> None:
    other = next(name for name in ALL if name != group and name != "rsa3072-oaep")
    ends = Ends.make(
        relay_config(groups=(group, other)), client_config(groups=(other, group))
    ).run()
    assert ends.established
    assert ends.client.connection.group == group
    ends.exchange()


def test_a_ticket_resumes_without_signatures_and_only_once() -> None:
    first = Ends.make().run()
    second = Ends.make(client=client_config(ticket=first.client.ticket))
    second.relay.tickets = first.relay.tickets
    second.run()
    assert second.established
    assert second.relay.asked == ["ticket", "peer"]
    before, peer = first.relay.peer, second.relay.peer
    assert before is not None
    assert peer is not None
    assert (peer.resumed, peer.certificate, peer.auth_time) == (True, b"", TIME)
    for name in ("name", "certificate_sha256", "peer_spki"):
        assert getattr(peer, name) == getattr(before, name)
    assert second.client.welcomes[0].resumed
    second.exchange()


def test_an_unknown_ticket_leads_to_a_full_handshake() -> None:
    first = Ends.make().run()
    second = Ends.make(client=client_config(ticket=first.client.ticket)).run()
    assert second.established
    assert second.relay.asked == ["ticket", "sign", "peer"]
    assert not second.client.welcomes[0].resumed


def test_a_ticket_and_a_retry_go_together() -> None:
    first = Ends.make().run()
    second = Ends.make(
        relay_config(groups=("x25519mlkem768", "x25519")),
        client_config(groups=("x25519", "x25519mlkem768"), ticket=first.client.ticket),
    )
    second.relay.tickets = first.relay.tickets
    second.run()
    assert second.established
    assert second.client.welcomes[0].resumed


def test_a_newcomer_enrols_and_the_relay_closes() -> None:
    ends = Ends.make(client=client_config(credential=enrolment())).run()
    assert ends.relay.newcomer is not None
    assert (ends.relay.newcomer.token, ends.relay.newcomer.name) == (b"token!", "alice")
    (welcome,) = ends.client.welcomes
    assert welcome.certificate is not None
    assert check("peer", welcome.certificate).name == "alice"
    assert welcome.tickets == ()
    assert ends.relay.connection.group == ends.client.connection.group == ALL[0]
    assert [end.orderly for end in ends.client.ends + ends.relay.ends] == [True, True]


def test_update_ratchets_each_direction_on_its_own() -> None:
    ends = Ends.make().run()
    assert ends.client.connection.update()
    ends.pump().exchange()
    assert ends.relay.connection.update()
    ends.pump().exchange()


@pytest.mark.parametrize("group", ALL)
def test_rekey_changes_every_secret_and_every_ticket(group: str) -> None:
    ends = Ends.make(relay_config(groups=(group,)), client_config(groups=(group,))).run()
    old = ends.relay.tickets
    session_id = ends.client.connection.session_id
    assert ends.client.connection.rekey()
    ends.pump()
    assert ends.relay.asked[-2:] == ["sign", "rekeyed"]
    assert [welcome.rekey for welcome in ends.client.welcomes] == [False, True]
    assert not set(old) & set(ends.relay.tickets)
    assert ends.client.connection.session_id == session_id
    ends.exchange()
    ends.now += 60
    assert ends.client.connection.rekey()
    ends.pump().exchange()


def test_rekey_in_a_resumed_session_uses_the_original_certificates() -> None:
    first = Ends.make().run()
    second = Ends.make(client=client_config(ticket=first.client.ticket))
    second.relay.tickets = first.relay.tickets
    second.run()
    assert second.client.connection.rekey()
    second.pump().exchange()
    third = Ends.make(client=client_config(ticket=second.client.ticket))
    third.relay.tickets = second.relay.tickets
    third.run()
    assert third.client.welcomes[0].resumed


def test_the_relay_may_take_its_time_with_each_answer() -> None:
    ends = Ends.make(answers=False)
    ends.client.connection.start()
    ends.pump()
    assert ends.relay.connection.paused
    ends.relay.sign_now()
    ends.pump()
    assert ends.relay.connection.paused
    ends.client.connection.send(b"early")  # right after C2
    ends.pump()
    assert ends.relay.received == b""
    ends.relay.let_in()
    ends.pump()
    assert ends.relay.received == b"early"
    ends.exchange()


def test_close_is_answered_and_orderly_at_both_ends() -> None:
    ends = Ends.make().run()
    ends.client.connection.close("done")
    ends.pump()
    assert [(end.code, end.orderly) for end in ends.relay.ends] == [("done", True)]
    assert [(end.code, end.orderly) for end in ends.client.ends] == [("bye", True)]


@pytest.mark.parametrize("code", ["revoked", "expired", "shutdown"])
def test_a_known_peer_is_told_why_it_is_turned_away_and_nobody_else(code: str) -> None:
    ends = Ends.make(refusal=code).run()
    (end,) = ends.client.ends
    assert (end.code, end.by_peer) == (code, True)


def test_a_relay_of_another_ca_is_not_believed() -> None:
    ends = Ends.make(
        relay_config(ca_spki=b"another authority"), client_config(relay_id=RELAY_ID)
    ).run()
    (end,) = ends.client.ends
    assert end.code == "auth-failed"
    assert ends.relay.peer is None


@pytest.mark.parametrize(
    "credentials",
    [
        credential("alice", STRANGER).__class__(
            certificate("alice", ALICE, "peer"), credential("alice", STRANGER).sign
        ),
        credential().__class__(certificate("alice", ALICE, "relay"), credential().sign),
        enrolment(seed=bytes(32)),
    ],
    ids=["a stolen certificate", "a relay's certificate", "another invitation"],
)
def test_who_cannot_prove_itself_gets_the_one_uniform_answer(credentials: object) -> None:
    ends = Ends.make(client=client_config(credential=credentials)).run()
    assert [(end.code, end.by_peer) for end in ends.client.ends] == [("auth-failed", True)]
    assert ends.relay.peer is None
    assert ends.relay.newcomer is None
