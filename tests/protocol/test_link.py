"""The life of records at both ends: UPDATE, CLOSE, ALERT, limits, and every breach."""

# More than 400 lines: one module of the package, shown fully by one module of tests.

from __future__ import annotations

from collections.abc import Callable

import pytest

from securerelay.errors import RemoteError
from securerelay.protocol import relay_end
from securerelay.protocol.link import ALERTS, UPDATE_AFTER
from securerelay.protocol.records import MAX_RECORDS, Kind
from tests.protocol.ends import (
    ClientSide,
    Ends,
    RelaySide,
    client_config,
    enrolment,
    opened,
    record,
)

Side = RelaySide | ClientSide


def established() -> Ends:
    ends = Ends.make().run()
    assert ends.established
    return ends


def how(side: Side) -> list[tuple[str, bool, bool]]:
    """Code, whether orderly, whether by the other side; of the one end there may be."""
    assert all(end.error is None for end in side.ends)
    return [(end.code, end.orderly, end.by_peer) for end in side.ends]


def from_client(ends: Ends, *records: tuple[int, bytes]) -> list[tuple[int, bytes]]:
    """Have the client say what it never would; return what the relay answers."""
    for kind, content in records:
        ends.relay.connection.receive(record(ends.client.connection, kind, content))
    return opened(ends.client.connection, ends.to_client())


def from_relay(ends: Ends, *records: tuple[int, bytes]) -> list[tuple[int, bytes]]:
    """The same the other way round."""
    for kind, content in records:
        ends.client.connection.receive(record(ends.relay.connection, kind, content))
    return opened(ends.relay.connection, ends.to_relay())


BREACHES = [
    (Kind.DATA, b""),
    (Kind.UPDATE, b"x"),
    (Kind.CLOSE, b""),
    (Kind.CLOSE, b"Done"),
    (Kind.CLOSE, b"x" * 33),
    (Kind.CLOSE, b"a b"),
    (Kind.CLOSE, b"done\n"),
    (Kind.ALERT, b""),
    (Kind.ALERT, b"\x1b[2J"),
    (Kind.WELCOME, b"{}"),
    (7, b"x"),
    (255, b""),
]


@pytest.mark.parametrize("said", [*BREACHES, (Kind.ALERT, b"rekey-due"), (Kind.REKEY, b"")])
def test_a_client_that_breaks_a_rule_is_told_so_and_gone(said: tuple[int, bytes]) -> None:
    ends = established()
    assert from_client(ends, said) == [(Kind.ALERT, b"protocol")]
    assert how(ends.relay) == [("protocol", False, False)]


@pytest.mark.parametrize("said", [*BREACHES, (Kind.REKEY, b"\2")])
def test_a_relay_that_breaks_a_rule_is_told_so_and_gone(said: tuple[int, bytes]) -> None:
    ends = established()
    assert from_relay(ends, said) == [(Kind.ALERT, b"protocol")]
    assert how(ends.client) == [("protocol", False, False)]


def test_a_record_that_does_not_open_ends_the_connection_without_a_word() -> None:
    for name, other in (("relay", "client"), ("client", "relay")):
        ends = established()
        receiver, sender = getattr(ends, name), getattr(ends, other)
        good = record(sender.connection, Kind.DATA, b"x")
        receiver.connection.receive(good[:-1] + bytes((good[-1] ^ 1,)))
        assert how(receiver) == [("record", False, False)]
        assert receiver.out == []


def test_a_breach_before_the_handshake_is_over_is_no_orderly_end() -> None:
    ends = Ends.make()
    ends.relay.connection.receive(b"noise\n")
    assert how(ends.relay) == [("bad-line", False, False)]


def test_before_the_handshake_is_over_a_relay_says_only_words_that_belong_there() -> None:
    ends = Ends.make()
    ends.relay.connection.fail(RemoteError("unheard-of"))
    assert ends.to_client() == b"SR1 ERR code=auth-failed\n"
    assert how(ends.relay) == [("auth-failed", False, False)]


def test_who_does_not_answer_close_is_not_waited_for() -> None:
    ends = established()
    ends.relay.connection.close("shutdown")
    assert ends.to_client() != b""
    assert ends.relay.ends == []
    ends.relay.connection.timed_out()
    assert ends.to_client() == b""
    assert how(ends.relay) == [("timeout", False, False)]


def test_nothing_is_read_or_said_after_the_end() -> None:
    ends = established()
    late = [record(ends.client.connection, Kind.CLOSE, b"done")]
    late += [record(ends.client.connection, Kind.DATA, b"late") for _ in range(2)]
    ends.relay.connection.receive(late[0] + late[1])
    ends.relay.connection.receive(late[2])
    assert ends.relay.received == b""
    assert how(ends.relay) == [("done", True, True)]
    relay = ends.relay.connection
    relay.close("again")
    relay.alert("shutdown")
    relay.lost()
    relay.welcome({})
    relay.refuse("revoked")
    relay.signed(b"")
    relay.ticket_found(None)
    relay.invitation_found(None)
    relay.timed_out()
    relay.fail(RemoteError("protocol"))
    relay.tick()
    relay.ask_rekey()
    assert not relay.update()
    assert not relay.may_send
    assert opened(ends.client.connection, ends.to_client()) == [(Kind.CLOSE, b"bye")]
    assert len(ends.relay.ends) == 1


@pytest.mark.parametrize(("length", "size"), [(16_383, 16_402), (16_384, 16_676), (40_000, 49_206)])
def test_a_stretch_takes_as_many_records_as_it_needs(length: int, size: int) -> None:
    ends = established()
    said = bytes(range(250)) * (length // 250 + 1)
    ends.client.connection.send(said[:length])
    assert sum(map(len, ends.client.out)) == size
    assert ends.relay.connection.offer(said[:length])
    ends.pump()
    assert ends.relay.received == ends.client.received == said[:length]


def test_records_that_come_together_are_all_heard_in_order() -> None:
    ends = established()
    sender = ends.client.connection
    said = [record(sender, Kind.DATA, b"one,"), record(sender, Kind.DATA, b"two,")]
    said += [record(sender, Kind.UPDATE)]
    assert sender._sealer is not None
    sender._sealer.ratchet()
    said += [record(sender, Kind.DATA, b"three"), record(sender, Kind.CLOSE, b"done")]
    ends.relay.connection.receive(b"".join(said))
    assert ends.relay.received == b"one,two,three"
    assert how(ends.relay) == [("done", True, True)]


# --- CLOSE, and ends without one ---


def test_closes_that_cross_are_orderly_at_both_ends() -> None:
    ends = established()
    ends.client.connection.close("one")
    ends.relay.connection.close("two")
    ends.client.connection.close("never twice")
    to_relay, to_client = ends.to_relay(), ends.to_client()
    assert len(to_relay) == len(to_client) == 274  # one record
    ends.relay.connection.receive(to_relay)
    ends.client.connection.receive(to_client)
    assert ends.to_relay() == ends.to_client() == b""
    assert how(ends.relay) == [("one", True, False)]
    assert how(ends.client) == [("two", True, False)]


def test_what_was_under_way_when_we_closed_still_arrives() -> None:
    ends = established()
    ends.relay.connection.send(b"the last words")
    ends.client.connection.close("done")
    assert not ends.client.connection.may_send
    ends.client.connection.receive(ends.to_client())
    assert ends.client.received == b"the last words"
    ends.pump()
    assert how(ends.client) == [("bye", True, False)]


@pytest.mark.parametrize("at_once", [False, True])
def test_a_close_waits_for_what_the_host_left(at_once: bool) -> None:
    ends = established()
    relay, left = ends.relay.connection, [True, False]

    def data(content: bytes) -> None:
        assert content == b""
        relay.left = left.pop(0)

    ends.relay.data = data  # type: ignore[method-assign]
    relay.left = True
    said = [record(ends.client.connection, Kind.CLOSE, b"done")]
    said += [record(ends.client.connection, Kind.DATA, b"late") for _ in range(2)]
    for piece in [b"".join(said)] if at_once else said:
        relay.receive(piece)
    relay.lost()
    relay.go_on()
    assert (left, ends.relay.ends, relay.may_send) == ([False], [], True)
    relay.go_on()
    assert opened(ends.client.connection, ends.to_client()) == [(Kind.CLOSE, b"bye")]
    assert how(ends.relay) == [("done", True, True)]


def test_a_close_of_another_form_is_a_breach_though_it_waited() -> None:
    ends = established()
    ends.relay.connection.left = True
    assert from_client(ends, (Kind.CLOSE, b"Done")) == []
    ends.relay.connection.go_on()
    assert opened(ends.client.connection, ends.to_client()) == [(Kind.ALERT, b"protocol")]
    assert how(ends.relay) == [("protocol", False, False)]


@pytest.mark.parametrize("close", [False, True])
def test_bytes_that_just_stop_are_a_truncation_whoever_wanted_to_close(close: bool) -> None:
    for side in ("relay", "client"):
        ends = established()
        end = getattr(ends, side)
        if close:
            end.connection.close("done")
        end.connection.lost()
        end.connection.lost()
        assert how(end) == [("truncated", False, True)]


def test_a_close_before_the_handshake_is_over_says_nothing() -> None:
    ends = Ends.make()
    ends.relay.connection.close("shutdown")
    ends.client.connection.close("done")
    assert how(ends.relay) == [("shutdown", True, False)]
    assert how(ends.client) == [("done", True, False)]
    assert ends.to_client() == ends.to_relay() == b""


def test_nothing_follows_a_close_of_ours() -> None:
    ends = established()
    ends.relay.connection.close("shutdown")
    ends.to_client()
    ends.now += 1
    assert not ends.relay.connection.update()
    ends.relay.connection.ask_rekey()
    with pytest.raises(AssertionError):
        ends.relay.connection.send(b"x")
    assert not ends.relay.connection.offer(b"x")
    ends.relay.connection.alert("internal")
    assert ends.to_client() == b""
    assert how(ends.relay) == [("internal", False, False)]


# --- ALERT ---


@pytest.mark.parametrize("code", sorted(ALERTS - {"rekey-due"}))
def test_an_alert_ends_the_connection_at_both_ends(code: str) -> None:
    ends = established()
    ends.relay.connection.alert(code, "a detail for our log")
    assert len(ends.relay.out[-1]) == 274  # the least that a record has
    ends.pump()
    assert [end.detail for end in ends.relay.ends] == ["a detail for our log"]
    assert how(ends.relay) == [(code, False, False)]
    assert how(ends.client) == [(code, False, True)]


def test_what_the_host_finds_wrong_becomes_its_alert() -> None:
    for code, alert in (("too-large", b"too-large"), ("unheard-of", b"protocol")):
        ends = established()

        def data(content: bytes, code: str = code) -> None:
            raise RemoteError(code, "says the session")

        ends.relay.data = data  # type: ignore[method-assign]
        assert from_client(ends, (Kind.DATA, b"x")) == [(Kind.ALERT, alert)]
        assert [end.detail for end in ends.relay.ends] == ["says the session"]


def test_a_bug_of_ours_ends_one_connection_and_tells_nothing() -> None:
    ends = established()

    def data(content: bytes) -> None:
        raise KeyError("a secret")

    ends.relay.data = data  # type: ignore[method-assign]
    assert from_client(ends, (Kind.DATA, b"x")) == [(Kind.ALERT, b"internal")]
    (end,) = ends.relay.ends
    assert isinstance(end.error, KeyError)
    assert "secret" not in end.detail


def test_what_the_host_left_is_its_own_breach_when_it_goes_on() -> None:
    for error, alert in ((RemoteError("too-large"), b"too-large"), (KeyError("x"), b"internal")):
        ends = established()
        heard: list[bytes] = []

        def data(content: bytes, heard: list[bytes] = heard, error: Exception = error) -> None:
            heard.append(content)
            if len(heard) == 2:
                raise error

        ends.relay.data = data  # type: ignore[method-assign]
        for _ in range(3):  # nothing goes on after the end
            ends.relay.connection.go_on()
        assert heard == [b"", b""]
        assert opened(ends.client.connection, ends.to_client()) == [(Kind.ALERT, alert)]
        assert [end.code for end in ends.relay.ends] == [alert.decode()]


def test_a_bug_of_ours_before_the_handshake_is_over_is_silent() -> None:
    ends = Ends.make()

    def sign(context: bytes, digest: bytes) -> None:
        ends.relay.connection.signed(bytes(3000))  # does not fit into AUTH

    ends.relay.sign = sign  # type: ignore[method-assign]
    ends.run()
    assert [(end.code, type(end.error)) for end in ends.relay.ends] == [("internal", ValueError)]
    assert ends.to_client() == b""


# --- UPDATE ---


def test_sixteen_updates_may_come_at_once_and_then_one_each_100_ms() -> None:
    ends = established()

    def update() -> None:
        sender = ends.client.connection
        data = record(sender, Kind.UPDATE)
        assert sender._sealer is not None
        sender._sealer.ratchet()
        ends.relay.connection.receive(data)

    for _ in range(16):
        update()
    ends.now += 0.101
    update()
    ends.exchange()
    update()
    assert how(ends.relay) == [("protocol", False, False)]


def test_unused_updates_do_not_pile_up() -> None:
    ends = established()
    ends.now += 1_000_000
    relay = ends.relay.connection
    for _ in range(16):
        relay._updated(b"")
    with pytest.raises(RemoteError, match="too many UPDATEs"):
        relay._updated(b"")


def test_we_update_at_most_every_100_ms() -> None:
    ends = established()
    for side in (ends.client, ends.relay):
        ends.now += 0.1
        assert side.connection.update()
        assert not side.connection.update()
        ends.now += 0.099
        assert not side.connection.update()
        ends.now += 0.002
        assert side.connection.update()
    ends.pump().exchange()


def test_who_has_said_something_updates_by_itself_in_time() -> None:
    ends = established()
    ends.exchange()
    for side in (ends.client.connection, ends.relay.connection):
        assert side._sealer is not None
        before = side._sealer._secret
        ends.now += UPDATE_AFTER - 1
        side.tick()
        assert side._sealer._secret == before
        ends.now += 1
        side.tick()
        assert side._sealer._secret != before
        before = side._sealer._secret
        ends.now += UPDATE_AFTER
        side.tick()  # nothing was said under it
        assert side._sealer._secret == before
        ends.now -= 2 * UPDATE_AFTER
    ends.pump().exchange()


def test_nobody_updates_before_the_handshake_is_over() -> None:
    ends = Ends.make()
    assert not ends.relay.connection.update()
    ends.relay.connection.tick()
    assert not ends.client.connection.update()
    ends.client.connection.tick()
    assert ends.to_client() == ends.to_relay() == b""


# --- what ends a session in time ---


@pytest.mark.parametrize(
    "early",
    [
        lambda ends: setattr(ends, "now", ends.now + relay_end.ASKS_AFTER - 1),
        lambda ends: setattr(ends.relay.connection, "carried", relay_end.ASKS_BYTES - 1),
        lambda ends: setattr(ends.relay.connection._sealer, "sequence", MAX_RECORDS // 2 - 1),
        lambda ends: setattr(ends.relay.connection._opener, "sequence", MAX_RECORDS // 2 - 1),
    ],
    ids=["time", "bytes", "records sent", "records received"],
)
def test_the_relay_asks_for_no_rekey_too_early(early: Callable[[Ends], None]) -> None:
    ends = established()
    early(ends)
    ends.relay.connection._ratcheted_at = ends.now
    ends.relay.connection.tick()
    assert ends.to_client() == b""


@pytest.mark.parametrize(
    "due",
    [
        lambda ends: setattr(ends, "now", ends.now + relay_end.ASKS_AFTER),
        lambda ends: setattr(ends.relay.connection, "carried", relay_end.ASKS_BYTES),
        lambda ends: setattr(ends.relay.connection._sealer, "sequence", MAX_RECORDS // 2),
        lambda ends: setattr(ends.relay.connection._opener, "sequence", MAX_RECORDS // 2),
    ],
    ids=["time", "bytes", "records sent", "records received"],
)
def test_the_relay_asks_once_for_a_rekey(due: Callable[[Ends], None]) -> None:
    ends = established()
    ends.relay.connection.tick()
    due(ends)
    sealer = ends.relay.connection._sealer
    assert sealer is not None
    sequence = sealer.sequence
    for _ in range(3):
        ends.relay.connection._ratcheted_at = ends.now
        ends.relay.connection.tick()
    assert sealer.sequence == sequence + 1
    assert ends.relay.ends == []


def test_a_client_that_is_asked_does_it_and_may_be_asked_again() -> None:
    ends = established()
    for _ in range(2):
        ends.now += relay_end.ASKS_AFTER
        ends.relay.connection.tick()
        ends.pump()
        assert ends.relay.asked[-1] == "rekeyed"
        ends.relay.connection.tick()
        assert ends.to_client() == b""
    ends.exchange()


@pytest.mark.parametrize(
    "overdue",
    [
        lambda ends: setattr(ends, "now", ends.now + relay_end.ENDS_AFTER),
        lambda ends: setattr(ends.relay.connection, "carried", relay_end.ENDS_BYTES),
        lambda ends: setattr(ends.relay.connection._sealer, "sequence", MAX_RECORDS),
        lambda ends: setattr(ends.relay.connection._opener, "sequence", MAX_RECORDS),
    ],
    ids=["time", "bytes", "records sent", "records received"],
)
def test_the_relay_ends_a_session_whose_rekey_is_overdue(overdue: Callable[[Ends], None]) -> None:
    ends = established()
    overdue(ends)
    ends.relay.connection._ratcheted_at = ends.now
    ends.relay.connection.tick()
    assert how(ends.relay) == [("rekey-overdue", False, False)]


def test_too_many_records_under_one_key_end_the_session_at_either_end() -> None:
    for side in ("relay", "client"):
        ends = established()
        sender = ends.client if side == "relay" else ends.relay
        receiver = getattr(ends, side)
        sender.connection._sealer.sequence = receiver.connection._opener.sequence = MAX_RECORDS - 1  # type: ignore[union-attr]
        receiver.connection.receive(record(sender.connection, Kind.DATA, b"x"))
        assert how(receiver) == [("rekey-overdue", False, False)]


def test_bytes_of_both_directions_count() -> None:
    ends = established()
    for side in (ends.relay.connection, ends.client.connection):
        assert side.carried == 0
    for _ in range(2):
        ends.exchange()
    assert ends.relay.connection.carried == ends.client.connection.carried == 4 * 274


# --- between C2 and WELCOME ---


def proven() -> Ends:
    """A relay whose host has not yet decided about a peer that proved itself."""
    ends = Ends.make(answers=False)
    ends.client.connection.start()
    ends.pump()
    ends.relay.sign_now()
    ends.pump()
    assert ends.relay.connection.paused
    assert not ends.relay.connection.established
    return ends


def first_record(ends: Ends) -> tuple[int, bytes]:
    data = ends.to_client()
    assert len(data) == 2 + 4096 + 16
    (one,) = opened(ends.client.connection, data)
    return one


def test_records_wait_until_the_peer_is_let_in_and_not_without_bound() -> None:
    ends = proven()
    early = b"".join(record(ends.client.connection, Kind.DATA, b"x" * 16_000) for _ in range(16))
    ends.relay.connection.receive(early[: 256 * 1024])
    assert ends.relay.ends == []
    assert ends.relay.received == b""
    ends.relay.connection.receive(early[256 * 1024 :])
    assert first_record(ends) == (Kind.ALERT, b"protocol")
    assert how(ends.relay) == [("protocol", False, False)]


@pytest.mark.parametrize(
    ("act", "alert"),
    [
        (lambda relay: relay.refuse("revoked"), b"revoked"),
        (lambda relay: relay.timed_out(), b"internal"),
        (lambda relay: relay.alert("shutdown"), b"shutdown"),
        (lambda relay: relay.fail(RemoteError("expired")), b"expired"),
        (lambda relay: relay.fail(RemoteError("busy")), b"protocol"),
    ],
)
def test_a_proven_peer_that_is_not_let_in_is_told_in_secret_and_in_one_size(
    act: Callable[[object], None], alert: bytes
) -> None:
    ends = proven()
    act(ends.relay.connection)
    assert first_record(ends) == (Kind.ALERT, alert)
    assert len(ends.relay.ends) == 1


def test_a_peer_that_goes_before_it_is_let_in_is_gone() -> None:
    ends = proven()
    ends.relay.connection.lost()
    ends.relay.let_in()
    assert ends.to_client() == b""
    assert how(ends.relay) == [("truncated", False, True)]


def test_welcome_has_the_size_of_every_first_record() -> None:
    ends = proven()
    ends.relay.let_in()
    assert first_record(ends)[0] == Kind.WELCOME


# --- newcomers ---


@pytest.mark.parametrize("said", [(Kind.DATA, b"x"), (Kind.WELCOME, b"{}"), (7, b"")])
def test_a_newcomer_that_says_more_than_goodbye_is_cut_off(said: tuple[int, bytes]) -> None:
    ends = Ends.make(client=client_config(credential=enrolment()))
    ends.client.connection.start()
    for _ in range(2):
        ends.relay.connection.receive(ends.to_relay())
        if not ends.relay.newcomer:
            ends.client.connection.receive(ends.to_client())
    assert ends.relay.connection.established
    assert not ends.relay.connection.may_send
    assert from_client(ends, said)[1:] == [(Kind.CLOSE, b"enrolled")]
    assert how(ends.relay) == [("protocol", False, False)]
    assert ends.relay.received == b""


def test_a_newcomer_cannot_rekey_and_never_sends_records() -> None:
    ends = Ends.make(client=client_config(credential=enrolment()))
    ends.client.connection.start()
    for _ in range(2):
        ends.relay.connection.receive(ends.to_relay())
        assert not ends.client.connection.may_send
        data = ends.to_client()
        if ends.relay.newcomer:
            data = data[: 2 + 4096 + 16]  # WELCOME without the CLOSE behind it
        ends.client.connection.receive(data)
    assert ends.client.connection.established
    assert not ends.client.connection.may_send
    assert not ends.client.connection.rekey()
    assert not ends.client.connection.update()
    body = b"\1\6x25519" + b"\0\x20" + b"\x09" * 32
    ends.relay.connection.receive(record(ends.client.connection, Kind.REKEY, body))
    assert ends.relay.asked == ["sign", "invitation", "newcomer"]
    assert ends.relay.ends == []
