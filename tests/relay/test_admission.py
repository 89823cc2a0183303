"""Who is let in, who is not, and what both are told."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from securerelay.crypto import primitives
from securerelay.identity.invitation import Invitation
from securerelay.protocol.connection import Enrolment
from securerelay.relay.config import Config, Lifetimes
from securerelay.store.interface import StorageFull
from tests.keys import authority, rsa_key, spki
from tests.relay.world import Guest, Slow, World, credential, done

DAY = 86_400


def newcomer(world: World, invitation: Invitation, key: int = 0, name: str = "") -> Guest:
    return world.connect(
        Enrolment(
            invitation.token,
            name or invitation.name,
            invitation.signing_seed,
            spki(index=key),
            lambda context, digest: primitives.sign_pss(rsa_key(index=key), context, digest),
        )
    )


def test_an_enrolled_peer_is_welcomed_with_the_time_tickets_and_limits() -> None:
    world = World()
    (welcome,) = world.join("alice").welcomes
    assert welcome.time == world.context.now()
    assert len(welcome.tickets) == 2
    assert welcome.limits["message"] == world.config.limits.message_bytes
    assert not welcome.resumed


def test_an_expired_certificate_is_told_so() -> None:
    world = World()
    row = world.enrol("alice")
    world.clock.advance(31 * DAY)
    assert world.connect(credential(row.der, 0)).end == "expired"


def test_a_certificate_that_is_not_valid_yet_is_told_like_an_expired_one() -> None:
    world = World()
    world.enrol("alice")
    world.clock.advance(3 * DAY)
    later = world.issue("alice", spki())
    world.clock.advance(-3 * DAY)
    assert world.connect(credential(later.der, 0)).end == "expired"


def test_a_revoked_peer_is_told_so() -> None:
    world = World()
    row = world.enrol("alice")
    done(world.store.revoke("alice", world.context.now()))
    assert world.connect(credential(row.der, 0)).end == "revoked"


def test_an_expired_peer_that_was_revoked_hears_of_its_certificate_first() -> None:
    world = World()
    row = world.enrol("alice")
    done(world.store.revoke("alice", world.context.now()))
    world.clock.advance(31 * DAY)
    assert world.connect(credential(row.der, 0)).end == "expired"


def test_a_certificate_for_a_name_that_the_directory_does_not_have_is_refused() -> None:
    world = World()
    row = world.issue("ghost", spki())
    assert world.connect(credential(row.der, 0)).end == "revoked"


def test_a_certificate_for_another_key_than_the_directorys_is_refused() -> None:
    world = World()
    world.enrol("alice", key=0)
    row = world.issue("alice", spki(index=1))
    assert world.connect(credential(row.der, 1)).end == "revoked"


def test_a_certificate_of_another_authority_is_refused_in_the_clear() -> None:
    world = World()
    world.enrol("alice")
    other = authority(1).issue_peer("alice", spki(), world.date()).der
    guest = world.connect(credential(other, 0))
    assert (guest.end, guest.ends[0].by_peer) == ("auth-failed", True)


def test_a_renewed_certificate_and_the_one_before_it_are_both_good_until_they_end() -> None:
    world = World()
    first = world.enrol("alice")
    world.clock.advance(20 * DAY)
    second = done(world.store.renew(world.issue("alice", spki()))).certificate
    for certificate in (first, second):
        guest = world.connect(credential(certificate.der, 0))
        assert guest.welcomes
        guest.drop()
    world.clock.advance(11 * DAY)
    assert world.connect(credential(first.der, 0)).end == "expired"
    assert world.connect(credential(second.der, 0)).welcomes


def test_a_peer_that_is_revoked_while_it_is_let_in_stays_out() -> None:
    store = Slow()
    world = World(store=store)
    row = world.enrol("alice")
    store.slow, store.stale = {"lookup"}, {"lookup"}
    guest = world.connect(credential(row.der, 0))
    done(Deferred.fromCoroutine(world.router.revoke("alice")))
    store.slow = set()
    store.answer()
    world.run()
    assert guest.end == "revoked"
    assert list(world.router.sessions) == []


def test_a_peer_that_comes_as_the_relay_ends_stays_out() -> None:
    store = Slow()
    world = World(store=store)
    row = world.enrol("alice")
    store.slow = {"lookup"}
    guest = world.connect(credential(row.der, 0))
    drained = Deferred.fromCoroutine(world.router.drain())
    world.run()
    done(drained)
    store.slow = set()
    store.answer()
    world.run()
    assert guest.end == "shutdown"
    assert list(world.router.sessions) == []


def test_a_ticket_lets_in_once_and_a_second_time_takes_the_certificate() -> None:
    world = World()
    alice = world.join("alice")
    ticket = alice.welcomes[0].tickets[0]
    alice.drop()
    assert world.join("alice", ticket=ticket).welcomes[0].resumed
    assert not world.join("alice", ticket=ticket).welcomes[0].resumed


def test_a_ticket_dies_when_its_certificate_is_replaced() -> None:
    world = World()
    alice = world.join("alice")
    ticket = alice.welcomes[0].tickets[0]
    world.clock.advance(100)
    done(world.store.renew(world.issue("alice", spki())))
    assert not world.join("alice", ticket=ticket).welcomes[0].resumed


def test_a_ticket_of_a_revoked_peer_lets_nobody_in() -> None:
    world = World()
    ticket = world.join("alice").welcomes[0].tickets[0]
    done(Deferred.fromCoroutine(world.router.revoke("alice")))
    assert world.join("alice", ticket=ticket).end == "revoked"


def test_tickets_carry_the_time_of_the_proof_and_end_a_day_after_it() -> None:
    world = World()
    alice = world.join("alice")
    proved = world.wall()
    for _ in range(3):
        ticket = alice.welcomes[-1].tickets[0]
        assert ticket.expiry <= proved + DAY
        alice.drop()
        world.clock.advance(DAY / 4)
        alice = world.join("alice", ticket=ticket)
        assert alice.welcomes[0].resumed
    ticket = alice.welcomes[-1].tickets[0]
    assert ticket.expiry == int(proved) + DAY
    alice.drop()
    world.clock.advance(DAY / 4 + 1)
    assert not world.join("alice", ticket=ticket).welcomes[0].resumed


def test_a_ticket_does_not_outlive_its_certificate() -> None:
    world = World()
    row = world.enrol("alice")
    world.clock.advance(29.5 * DAY)
    (welcome,) = world.join("alice").welcomes
    assert {ticket.expiry for ticket in welcome.tickets} == {row.not_after // 1000}


def test_without_tickets_in_the_configuration_there_are_none() -> None:
    world = World(Config(lifetimes=Lifetimes(ticket=0)))
    assert world.join("alice").welcomes[0].tickets == ()


def test_a_full_disk_keeps_nobody_out() -> None:
    store = Slow()
    world = World(store=store)
    row = world.enrol("alice")
    store.slow = {"ticket_put"}
    guest = world.connect(credential(row.der, 0))
    ticket = guest.welcomes[0].tickets[0]
    world.run(1)
    store.answer(StorageFull("no room"))
    again = world.connect(credential(row.der, 0), ticket)
    assert not again.welcomes[0].resumed


def test_a_newcomer_gets_its_certificate_and_an_orderly_end() -> None:
    world = World()
    guest = newcomer(world, world.invite("alice"))
    (welcome,) = guest.welcomes
    row = done(world.store.lookup("alice"))
    assert welcome.certificate == row.certificate.der
    assert welcome.tickets == ()
    assert (guest.end, guest.ends[0].orderly) == ("enrolled", True)
    assert "peer.enrolled" in world.told.names()
    assert world.connect(credential(row.certificate.der, 0)).welcomes


def test_an_invitation_gives_the_same_key_the_same_certificate_again() -> None:
    world = World()
    invitation = world.invite("alice")
    first, second = newcomer(world, invitation), newcomer(world, invitation)
    assert first.welcomes[0].certificate == second.welcomes[0].certificate
    assert world.told.names().count("peer.enrolled") == 1


def test_an_invitation_that_another_key_used_raises_an_alarm() -> None:
    world = World()
    invitation = world.invite("alice")
    newcomer(world, invitation, key=0)
    late = newcomer(world, invitation, key=1)
    assert (late.end, late.welcomes) == ("token-used", [])
    assert "enrolment.token-used" in world.told.names()
    assert done(world.store.invitation(invitation.token)).disputed == world.context.now()
    assert done(world.store.lookup("alice")).certificate.spki == spki(index=0)


def test_an_expired_invitation_is_told_so() -> None:
    world = World()
    invitation = world.invite("alice")
    world.clock.advance(3601)
    assert newcomer(world, invitation).end == "expired"


def test_a_withdrawn_invitation_is_told_so() -> None:
    world = World()
    invitation = world.invite("alice")
    done(world.store.withdraw(invitation.token))
    assert newcomer(world, invitation).end == "expired"


def test_an_invitation_is_for_one_name() -> None:
    world = World()
    assert newcomer(world, world.invite("alice"), name="mallory").end == "expired"
    assert done(world.store.lookup("mallory")) is None


@pytest.mark.parametrize("name", ["bill", "bi11"])
def test_an_invitation_whose_name_was_given_away_since_is_told_like_an_expired_one(
    name: str,
) -> None:
    world = World()
    first, second = world.invite("bill"), world.invite(name)
    newcomer(world, first)
    late = newcomer(world, second, key=1)
    assert (late.end, late.welcomes) == ("expired", [])
    assert "enrolment.token-used" not in world.told.names()


@pytest.mark.parametrize("what", ["token", "seed"])
def test_an_invitation_that_nobody_made_says_no_more_than_any_other_wrong_proof(what: str) -> None:
    import dataclasses

    world = World()
    made = world.invite("alice")
    wrong = dataclasses.replace(made, **{what: bytes(len(getattr(made, what)))})
    guest = newcomer(world, wrong)
    assert (guest.end, guest.ends[0].by_peer) == ("auth-failed", True)


def test_what_a_newcomer_says_beyond_its_proof_ends_the_connection() -> None:
    store = Slow()
    world = World(store=store)
    invitation = world.invite("alice")
    store.slow = {"consume"}
    guest = newcomer(world, invitation)
    guest._out.append(guest.connection._sealer.seal(1, b"PING 1\n"))
    store.answer()
    world.run()
    assert list(world.router.sessions) == []
    assert "connection.failed" not in world.told.names()


def test_a_newcomer_cannot_begin_a_rekey() -> None:
    world = World()
    guest = newcomer(world, world.invite("alice"))
    wire = guest.wire
    assert wire.session is None
    wire.rekeyed(())
    assert wire.connection.ended


def test_a_relay_whose_signing_threads_are_full_says_busy() -> None:
    from securerelay.errors import RemoteError

    world = World()
    row = world.enrol("alice")

    def busy(context: bytes, digest: bytes) -> bytes:
        raise RemoteError("busy", "too many")

    world.context.sign = busy
    assert world.connect(credential(row.der, 0)).end == "busy"


def test_an_error_of_ours_says_nothing_to_a_stranger() -> None:
    world = World()
    row = world.enrol("alice")

    def broken(context: bytes, digest: bytes) -> bytes:
        raise ZeroDivisionError("secret")

    world.context.sign = broken
    guest = world.connect(credential(row.der, 0))
    assert not guest.welcomes
    assert guest.gone
    assert "connection.failed" in world.told.names()
