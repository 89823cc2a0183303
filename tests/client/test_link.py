"""What happens to a client whose connection is lost, refused, silent, or leads to somebody else."""

# More than 400 lines: one module of the package, shown fully by one module of tests.

from __future__ import annotations

import errno
import itertools
import json
import os

from twisted.internet.error import getConnectError
from twisted.internet.protocol import Factory, Protocol

from securerelay.client import Sent
from securerelay.client.verdicts import explain_failure
from securerelay.client.wire import HANDSHAKE, HEARTBEAT
from securerelay.errors import AuthenticationFailed, ConnectError, Refused, RemoteError
from securerelay.identity.profile import TICKETS, Profile
from securerelay.protocol import lines
from tests.client.conftest import World
from tests.client.relay import NOW, OTHER_CA_KEY, Relay, date
from tests.network import outcome


def connecting(world: World, attempts: int = 1) -> object:
    world.client.startService()
    return world.after(world.client.connected(attempts), 1)


def test_a_connection_that_is_cut_comes_back_by_ticket_and_nothing_is_lost_or_doubled(connected):
    connected.relay.verdict = lambda seq, to: b"hold" if seq == 2 else None
    sends = [connected.client.send("alice", b"%d" % n) for n in range(2)]
    connected.run()
    connected.network.cut()
    sends.append(connected.client.send("alice", b"2"))
    connected.relay.verdict = lambda seq, to: None
    connected.run(5)
    assert [outcome(send).seq for send in sends] == [1, 2, 3]
    assert [said[0] for said in connected.relay.verbs("send")] == [1, 2, 3]
    assert connected.relay.resumed == [False, True]
    assert [said[1] for said in connected.relay.verbs("stream")] == [0, 1]


def test_a_listener_goes_on_after_a_reconnection_and_sees_each_message_once(connected):
    messages = connected.client.listen()
    connected.relay.deliver(b"one")
    first = connected.after(messages.next())
    connected.relay.deliver(b"two")
    connected.run()
    connected.network.cut()
    first.ack()
    connected.run(5)
    connected.relay.deliver(b"three")
    bodies = [connected.after(messages.next()).body for _ in range(2)]
    assert bodies == [b"two", b"three"]
    assert connected.relay.verbs("listen") == [(0,), (2,)]
    assert (1,) in connected.relay.verbs("ack")


def test_an_acknowledgement_waits_for_the_relay_to_serve_the_mailbox_again(connected):
    messages = connected.client.listen()
    connected.relay.deliver(b"one")
    first = connected.after(messages.next())
    connected.network.cut()
    first.ack()
    connected.run(5)
    heard = [said[0] for said in connected.relay.said]
    data = [at for at, what in enumerate(heard) if what == "data"]
    assert heard[-1] == "ack"
    assert heard.index("ack") - 1 in data, "in a write of its own, behind the answer to LISTEN"


def test_a_ticket_is_gone_from_the_disk_before_it_is_used(connected):
    connected.network.cut()
    left = []
    connect = connected.network.connect

    def look(factory):
        protocol = connect(factory)
        left.append(len(connected.profile._tickets()))
        return protocol

    connected.network.connect = look
    connected.run(5)
    assert left == [1], "of the two"


def test_a_ticket_that_the_relay_does_not_like_costs_one_more_connection_and_no_error(connected):
    for ticket, kept in list(connected.relay.tickets.items()):
        connected.relay.tickets[ticket] = type(kept)(bytes(48), "bob", kept.peer_spki, 0, b"")
    connected.network.cut()
    waiting = connected.client.connected(attempts=1)
    connected.run(10)
    assert outcome(waiting) is None
    assert waiting.called
    assert connected.relay.resumed == [False, False]


def test_tickets_of_a_certificate_that_was_replaced_do_not_end_the_client(connected):
    connected.relay.ticket_refusal = "revoked"
    connected.network.cut()
    connected.run(10)
    assert connected.client.is_connected
    assert connected.relay.resumed == [False, False]


def test_nobody_at_the_address_is_told_at_once(world):
    world.network.factory = None
    refused = connecting(world)
    assert isinstance(refused, ConnectError)
    assert "relay.example:3000" in refused.message


def test_the_waits_between_attempts_grow_and_are_bounded(world):
    world.network.factory = None
    times = []
    connect = world.network.connect

    def attempt(factory):
        times.append(world.clock.seconds())
        return connect(factory)

    world.network.connect = attempt
    world.client._link._jitter = lambda: 1.0
    world.client.startService()
    world.run(200)
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert waits[:5] == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert set(waits[5:]) == {30.0}


def test_a_relay_with_another_authority_is_an_authentication_error_in_clear_words(world):
    world.network.factory = Relay(world.clock, OTHER_CA_KEY).factory()
    failed = connecting(world)
    assert isinstance(failed, AuthenticationFailed)
    assert "not the relay that this profile belongs to" in failed.detail
    assert "another certificate authority" in failed.detail


def test_a_relay_that_knows_our_relays_id_but_not_its_key_is_found_out(world):
    impostor = Relay(world.clock, OTHER_CA_KEY)
    impostor.config.relay_id = world.relay.authority.relay_id
    world.network.factory = impostor.factory()
    failed = connecting(world)
    assert isinstance(failed, AuthenticationFailed)
    assert failed.code == "auth-failed"
    assert impostor.resumed == [], "and learned nothing about us"


def test_a_relay_of_the_same_authority_with_another_name_is_found_out(world, tmp_path):
    path = world.profile.path / "profile.json"
    told = json.loads(path.read_bytes())
    assert "relay" in told.values()
    path.write_text(path.read_text().replace('"relay"', '"other"'))
    world.client = world.new_client(Profile.open(world.profile.path))
    world.profile.key()
    world.client._link._identity._profile.key()
    failed = connecting(world)
    assert isinstance(failed, AuthenticationFailed)


def test_a_revoked_peer_is_told_and_does_not_come_again(world):
    world.relay.refusal = "revoked"
    failed = connecting(world)
    assert isinstance(failed, AuthenticationFailed)
    assert failed.code == "revoked"
    world.relay.refusal = None
    world.run(120)
    assert not world.client.is_connected
    assert isinstance(outcome(world.client.send("alice", b"")), AuthenticationFailed)
    assert not world.clock.getDelayedCalls()


def test_a_session_that_is_revoked_ends_everything_that_waits(connected):
    connected.relay.verdict = lambda seq, to: b"hold"
    sending = connected.client.send("alice", b"x")
    messages = connected.client.listen().next()
    connected.run()
    connected.relay.sessions[-1].connection.alert("revoked")
    connected.run()
    assert isinstance(outcome(sending), AuthenticationFailed)
    assert isinstance(outcome(messages), AuthenticationFailed)


def test_an_error_in_the_clear_may_be_an_attackers_and_never_ends_a_client_for_good(world):
    class Liar(Protocol):
        def dataReceived(self, data: bytes) -> None:
            assert self.transport is not None
            self.transport.write(b"SR1 ERR code=revoked\n")

    world.network.factory = Factory.forProtocol(Liar)
    assert isinstance(connecting(world), (AuthenticationFailed, ConnectError))
    world.network.factory = world.relay.factory()
    world.run(60)
    assert world.client.is_connected


def test_a_relay_that_is_busy_is_tried_again_within_the_time_given(world):
    class Busy(Protocol):
        def dataReceived(self, data: bytes) -> None:
            assert self.transport is not None
            self.transport.write(b"SR1 ERR code=busy\n")

    world.network.factory = Factory.forProtocol(Busy)
    world.client.startService()
    waiting = world.client.connected(attempts=1)
    world.run(2)
    assert not waiting.called
    world.network.factory = world.relay.factory()
    world.run(10)
    assert waiting.called
    assert world.client.is_connected


def test_a_relay_that_never_answers_is_given_up(world):
    world.network.factory = Factory.forProtocol(Protocol)
    world.client.startService()
    waiting = world.client.connected(attempts=1)
    world.run(HANDSHAKE + 1)
    failed = outcome(waiting)
    assert isinstance(failed, ConnectError)
    assert "did not answer in time" in failed.message


def test_a_connection_without_news_is_probed_and_without_an_answer_replaced(connected):
    connected.run(HEARTBEAT * 2 + 1)
    assert connected.relay.verbs("ping")
    assert len(connected.relay.resumed) == 1
    connected.relay.silent = True
    connected.run(30)
    assert not connected.client.is_connected, "within half a minute"
    connected.relay.silent = False
    connected.run(20)
    assert len(connected.relay.resumed) == 2


def test_a_connection_that_the_application_holds_up_goes_on_showing_the_relay_that_we_are_here(
    connected,
):
    connected.client._session._pressure(True)
    connected.run(HEARTBEAT * 4)
    assert len(connected.relay.verbs("ping")) == 4
    connected.client._session._pressure(False)
    connected.run(1)
    assert len(connected.relay.resumed) == 1, "it is still the first session"


def test_what_becomes_of_a_message_is_heard_after_a_reconnection_although_nothing_more_is_sent(
    connected,
):
    connected.relay.mute_receipts = True
    events = connected.client.events("receipt")
    connected.client.post("alice", b"x", receipt=True)
    connected.run()
    (stream,) = connected.relay.streams
    connected.relay.receipts = {stream: [(1, b"alice", 77)]}
    connected.network.cut()
    receipt = connected.after(events.next(), 5)
    assert receipt.data == {"seq": 1, "peer": "alice", "time": 77}


def test_why_the_network_refused_is_said_once():
    refused = getConnectError((errno.ECONNRESET, os.strerror(errno.ECONNRESET)))
    said = explain_failure(refused, "relay.example:3000")
    assert str(said) == "no relay answers at relay.example:3000: connection reset by peer"


def test_the_relays_own_probe_is_answered(connected):
    from securerelay.protocol import messages

    connected.relay.sessions[-1].connection.send(messages.ping(b"abc"))
    connected.run()
    assert connected.relay.verbs("pong") == [(b"abc",)]


def test_after_an_hour_the_keys_are_changed_and_the_session_goes_on(connected):
    connected.run(3700)
    assert ("rekey",) in connected.relay.said
    assert len(connected.relay.resumed) == 1
    assert isinstance(connected.after(connected.client.send("alice", b"x")), Sent)
    assert len(connected.profile._tickets()) == 2, "the new ones"


def test_a_relay_that_breaks_the_protocol_loses_the_connection_and_not_the_client(connected):
    connected.relay.sessions[-1].connection.send(b"OK 7\n")
    connected.run(10)
    assert len(connected.relay.resumed) == 2
    assert connected.client.is_connected


def renewing(world: World) -> list[bytes]:
    renewed: list[bytes] = []

    def answer(said):
        spki = world.profile.peer.spki
        der = world.relay.authority.issue_peer("bob", spki, date(world.relay.now())).der
        renewed.append(der)
        return {"certificate": lines.encode(der)}

    world.relay.answers[b"cert.renew"] = answer
    return renewed


DAY = 86_400.0


def test_a_certificate_is_renewed_in_a_full_session_at_two_thirds_of_its_life(world):
    renewed = renewing(world)
    world.clock.advance(19 * DAY)
    world.start()
    assert renewed == []
    world.close()
    world.client = world.new_client()
    world.clock.advance(1.5 * DAY)
    world.start()
    world.run()
    assert world.relay.resumed == [False, False], "a ticket would not do for this"
    assert len(renewed) == 1
    assert Profile.open(world.profile.path).certificate == renewed[0]
    assert world.profile._tickets() == [], "they died with the old certificate"
    assert world.client.is_connected


def test_a_resumed_session_makes_room_for_one_that_can_renew(world):
    renewed = renewing(world)
    world.clock.advance(world.profile.peer.renew_at.timestamp() - 600 - NOW)
    world.start()
    world.network.cut()
    world.run(5)
    assert world.relay.resumed == [False, True]
    world.run(700)
    assert world.relay.resumed == [False, True, False]
    assert len(renewed) == 1


def test_a_renewal_that_is_refused_is_tried_again_later(world):
    tries = []

    def answer(said):
        tries.append(said)
        raise RemoteError("internal", "")

    world.relay.answers[b"cert.renew"] = answer
    world.clock.advance(21 * DAY)
    world.start()
    world.run()
    assert len(tries) == 1
    renewed = renewing(world)
    world.run(3700)
    assert len(renewed) == 1


def test_a_renewed_certificate_of_somebody_else_is_not_kept(world):
    def answer(said):
        spki = world.profile.peer.spki
        der = world.relay.authority.issue_peer("mallory", spki, date(world.relay.now())).der
        return {"certificate": lines.encode(der)}

    before = world.profile.certificate
    world.relay.answers[b"cert.renew"] = answer
    world.clock.advance(21 * DAY)
    world.start()
    world.run()
    assert Profile.open(world.profile.path).certificate == before


def test_tickets_that_cannot_be_kept_are_no_failure(world, monkeypatch):
    def full(self, tickets):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Profile, "save_tickets", full)
    world.start()
    assert not (world.profile.path / TICKETS).exists()
    assert isinstance(world.after(world.client.send("alice", b"x")), Sent)


def test_a_profile_that_disappears_is_no_crash(world):
    (world.profile.path / "profile.json").unlink()
    world.client.startService()
    failed = world.after(world.client.connected(1), 5)
    assert isinstance(failed, ConnectError)


def test_several_addresses_are_tried_in_turn(world):
    from securerelay.client.client import Client
    from tests.network import Network

    nowhere = Network(None)
    world.client = Client(
        world.client._link._identity,
        "bob",
        [("a:1", nowhere), ("b:2", world.network)],
        world.clock,
        jitter=lambda: 0.0,
        now=world.relay.now,
    )
    world.client.startService()
    waiting = world.client.connected(world.client.attempts)
    world.run(3)
    assert waiting.called
    assert world.client.is_connected


def test_a_replaced_session_does_not_fight_for_its_place(connected):
    connected.relay.sessions[-1].connection.alert("replaced")
    connected.run(60)
    assert len(connected.relay.resumed) == 1
    refused = outcome(connected.client.send("alice", b""))
    assert isinstance(refused, Refused)
    assert refused.code == "replaced"


def test_nothing_secret_shows_in_what_a_client_prints(connected):
    shown = repr(connected.client) + repr(connected.client._link.__dict__)
    assert "psk" not in shown
