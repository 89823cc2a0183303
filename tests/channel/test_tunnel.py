"""Two programs share a pipe through whatever carries their bytes, and nobody else gets in."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securerelay.channel.pipe import Pipe
from securerelay.channel.tunnel import GuestTunnel, HostTunnel
from securerelay.errors import (
    AuthenticationFailed,
    ConnectError,
    InvitationError,
    Refused,
    RemoteError,
)
from securerelay.identity.invitation import Invitation
from tests.channel.ends import NOW, OTHER_CA_KEY, OTHER_KEY, make_guest, make_host
from tests.network import outcome


class Pair:
    """Both ends of a tunnel, and the bytes between them."""

    def __init__(self, **guest_side) -> None:
        self.seconds = 1000.0
        self.to_host, self.to_guest = bytearray(), bytearray()
        self.host = HostTunnel(self.to_guest.extend, make_host, lambda: self.seconds)
        self.join(**guest_side)

    def join(self, invitation: str | None = None, **guest_side) -> None:
        parsed = Invitation.parse(invitation or self.host.invitation)
        guest = make_guest(parsed, **guest_side)
        self.guest = GuestTunnel(self.to_host.extend, guest, lambda: self.seconds)
        self.guest.start()

    def run(self, cut: int = 1 << 20) -> Pair:
        while self.to_host or self.to_guest:
            for queue, end in ((self.to_host, self.host), (self.to_guest, self.guest)):
                piece = bytes(queue[:cut])
                del queue[:cut]
                if piece:
                    end.feed(piece)
        return self

    def pipes(self) -> tuple[Pipe, Pipe]:
        host, guest = outcome(self.host.pipe), outcome(self.guest.pipe)
        assert isinstance(host, Pipe)
        assert isinstance(guest, Pipe)
        return host, guest


def test_both_ends_get_a_pipe_and_what_one_writes_the_other_reads():
    pair = Pair().run()
    host, guest = pair.pipes()
    host.write(b"hello guest")
    guest.write(b"hello host")
    pair.run()
    assert outcome(host.read()) == b"hello host"
    assert outcome(guest.read()) == b"hello guest"


def test_the_fingerprint_is_the_same_at_both_ends_and_another_one_each_time():
    host, guest = Pair().run().pipes()
    other, _ = Pair().run().pipes()
    assert host.fingerprint == guest.fingerprint
    assert host.fingerprint.count("-") == 7
    assert host.fingerprint != other.fingerprint


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 700), st.binary(max_size=40_000))
def test_it_does_not_matter_how_the_bytes_are_cut(cut, body):
    pair = Pair().run(cut)
    host, guest = pair.pipes()
    guest.write(body)
    pair.run(cut)
    got = b""
    while len(got) < len(body):
        chunk = outcome(host.read())
        assert isinstance(chunk, bytes)
        got += chunk
    assert got == body


def test_a_closed_pipe_ends_after_everything_that_was_written():
    pair = Pair().run()
    host, guest = pair.pipes()
    host.write(b"last words")
    closing = host.close()
    pair.run()
    assert closing.called
    assert outcome(guest.read()) == b"last words"
    assert outcome(guest.read()) == b""
    assert isinstance(outcome(guest.write(b"x")), ConnectError)


def test_a_cut_does_not_look_like_an_end():
    pair = Pair().run()
    host, guest = pair.pipes()
    host.write(b"first half")
    pair.run()
    waiting = host.read()
    pair.host.close()
    pair.guest.close()
    assert outcome(guest.read()) == b"first half"
    assert isinstance(outcome(guest.read()), ConnectError)
    assert isinstance(outcome(waiting), ConnectError)


def test_a_changed_byte_ends_the_pipe_and_is_never_delivered():
    pair = Pair().run()
    host, guest = pair.pipes()
    guest.write(b"attack at dawn")
    pair.to_host[40] ^= 1
    pair.run()
    assert isinstance(outcome(host.read()), ConnectError)


def test_an_invitation_of_another_host_is_an_authentication_error():
    other = HostTunnel(lambda data: None, lambda established: make_host(established, OTHER_CA_KEY))
    pair = Pair(invitation=other.invitation).run()
    failed = outcome(pair.guest.pipe)
    assert isinstance(failed, AuthenticationFailed)
    assert "not the host that made this invitation" in failed.detail
    assert outcome(pair.host.pipe) is None


def test_an_invitation_used_by_somebody_else_is_refused():
    pair = Pair(key=OTHER_KEY)
    # The thief enrols and disappears before the second connection.
    while pair.host.host._issued is None:
        moved, pair.to_host[:] = bytes(pair.to_host), b""
        pair.host.feed(moved)
        moved, pair.to_guest[:] = bytes(pair.to_guest), b""
        pair.guest.feed(moved)
    victim = HostTunnel(pair.to_guest.extend, lambda _: pair.host.host)
    pair.to_host.clear()
    pair.to_guest.clear()
    pair.host = victim
    pair.join()
    pair.run()
    refused = outcome(pair.guest.pipe)
    assert isinstance(refused, Refused)
    assert refused.code == "token-used"


def test_a_guest_whose_first_connection_broke_after_the_certificate_was_made_enrols_again():
    pair = Pair()
    while pair.host.host._issued is None:
        moved, pair.to_host[:] = bytes(pair.to_host), b""
        pair.host.feed(moved)
        if pair.host.host._issued is None:
            moved, pair.to_guest[:] = bytes(pair.to_guest), b""
            pair.guest.feed(moved)
    pair.to_guest.clear()
    pair.host = HostTunnel(pair.to_guest.extend, lambda _: pair.host.host)
    established = []
    pair.host.host.established = established.append
    pair.join()
    pair.run()
    assert isinstance(outcome(pair.guest.pipe), Pipe)
    assert len(established) == 1


def test_nobody_joins_a_channel_that_has_its_guest():
    pair = Pair().run()
    pair.pipes()
    second: list[bytes] = []
    guest = GuestTunnel(second.append, make_guest(Invitation.parse(pair.host.invitation)))
    guest.start()
    stranger = bytearray(b"".join(second))
    stranger[0] = 3
    with pytest.raises(RemoteError):
        pair.host.feed(bytes(stranger))


def test_an_expired_invitation_is_not_even_tried():
    host = make_host(lambda pipe: None, now=lambda: NOW - 7200)
    with pytest.raises(InvitationError):
        make_guest(host.invitation)


def test_keys_change_after_an_hour_and_what_was_written_meanwhile_arrives():
    pair = Pair().run()
    host_pipe, guest_pipe = pair.pipes()
    pair.seconds += 3601
    pair.guest.tick()
    moved, pair.to_host[:] = bytes(pair.to_host), b""
    assert moved, "the change of keys began"
    pair.host.feed(moved)
    host_pipe.write(b"held while the keys change")
    guest_pipe.write(b"not held")
    pair.run()
    assert outcome(guest_pipe.read()) == b"held while the keys change"
    assert outcome(host_pipe.read()) == b"not held"
    assert guest_pipe._connection._rekeyed_at is not None


@pytest.mark.parametrize(
    "data", [b"\x02\x00\x01x", b"\x01\x00\x01x\x09\x00\x00", b"\xff\xff\xff" * 30000]
)
def test_a_connection_out_of_turn_closes_the_tunnel(data):
    host = HostTunnel(lambda data: None, make_host)
    with pytest.raises(RemoteError) as caught:
        host.feed(data)
    assert caught.value.code == "protocol"
    assert isinstance(outcome(host.pipe), ConnectError)
