"""What an audit says of relays that are as they should be, and of weaker and broken ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from securerelay.audit.caller import MOST, Caller
from securerelay.audit.handshake import Attempt
from securerelay.audit.run import Who
from securerelay.audit.strangers import Knowing, Outside
from securerelay.audit.verdict import Verdict
from securerelay.errors import ConnectError
from securerelay.identity.certificates import check_peer
from securerelay.protocol import hello
from securerelay.protocol.hello import KnockMemory
from securerelay.relay.config import Config, Lifetimes, Limits, Policy
from tests.audit.audited import Audited
from tests.relay.world import Pipe, credential, done

DAY = 86_400


def grades(verdict: Verdict) -> dict[str, str]:
    return {one.check: one.grade for one in verdict.findings}


def enrolled(audited: Audited) -> Who:
    row = audited.world.enrol("alice")
    certificate = check_peer(audited.world.authority.public_key, row.der)
    return Who(audited.relay_id, credential(row.der, 0), certificate)


def test_a_relay_as_shipped_gets_the_best_grades_but_for_the_small_keys_of_tests() -> None:
    audited = Audited()
    verdict = audited.audit(slow=True)
    found = grades(verdict)
    assert found.pop("certificate") == "B"
    assert set(found.values()) == {"A"}
    assert set(found) == {
        "groups", "relay-id", "ciphers", "fresh", "unknown", "retry", "downgrade", "replay",
        "shares", "early-data", "proofs", "silence", "noise", "line-limit", "first-byte",
        "handshake",
    }  # fmt: skip
    assert (verdict.grade, verdict.stopped) == ("B", "")


def test_an_audit_is_borne_with_and_leaves_nothing_behind() -> None:
    audited = Audited()
    audited.audit(enrolled(audited), slow=True)
    gate = audited.world.context.gate
    assert audited.caller.count <= MOST
    assert audited.slept > 0
    assert gate.penalties() == {}
    assert gate.refused == 0
    assert gate.unauthenticated == 0
    assert "source.penalised" not in audited.world.told.names()
    assert list(audited.world.router.online) == []


@pytest.mark.parametrize(
    ("groups", "grade"),
    [
        (("x25519mlkem768", "x25519"), "C"),
        (("x25519mlkem768", "ffdhe3072"), "C"),
        (("x25519mlkem768", "rsa3072-oaep"), "C"),
        (("x25519",), "D"),
    ],
)
def test_weaker_key_exchanges_cost_the_good_grade(groups: tuple[str, ...], grade: str) -> None:
    audited = Audited(groups=groups)
    verdict = audited.audit()
    (found,) = [one for one in verdict.findings if one.check == "groups"]
    assert found.grade == verdict.grade == grade
    assert groups[-1] in found.reason
    accepted = {name for name, how in found.facts["groups"].items() if how == "accepted"}
    assert accepted == set(groups)


def test_a_relay_that_prefers_the_weaker_group_is_told_of() -> None:
    audited = Audited(groups=("x25519", "x25519mlkem768"))
    assert audited.finding("retry").grade == "C"


def test_a_relay_without_any_known_group_fails() -> None:
    verdict = Audited(groups=("x-unknown-9",)).audit()
    assert (verdict.grade, grades(verdict)["groups"]) == ("F", "F")


def test_one_cipher_is_enough_and_is_named() -> None:
    audited = Audited()
    audited.arm(suites=("chacha20poly1305",))
    found = audited.finding("ciphers")
    assert (found.grade, found.reason) == ("A", "accepted: chacha20poly1305")


def test_another_relay_than_the_expected_one_fails_at_once() -> None:
    audited = Audited()
    verdict = audited.audit(Who(bytes(32)))
    assert (verdict.grade, grades(verdict)) == ("F", {"relay-id": "F"})
    assert audited.caller.count == 1


def test_without_the_relay_id_only_the_outside_is_looked_at() -> None:
    audited = Audited()
    verdict = audited.audit(Who())
    assert grades(verdict) == {"silence": "A", "noise": "A", "line-limit": "A", "relay-id": "-"}
    assert verdict.grade == "A"


def test_what_is_no_relay_is_told_as_such() -> None:
    audited = Audited()
    audited.alter = lambda data: b"HTTP/1.1 400 Bad Request\r\n\r\n"
    verdict = audited.audit(Who())
    assert "no relay" in verdict.stopped
    assert audited.finding("relay-id").grade == "F"


@pytest.mark.parametrize(
    ("days", "grade", "says"),
    [(61, "B", "3072 are better"), (63, "B", "should have been renewed"), (91, "F", "alone")],
)
def test_the_relays_certificate_is_graded_by_its_age(days: int, grade: str, says: str) -> None:
    audited = Audited()
    audited.world.clock.advance(days * DAY)
    found = audited.finding("certificate")
    assert found.grade == grade
    assert says in found.reason


def test_a_source_under_a_penalty_is_told_so() -> None:
    audited = Audited()
    source = Pipe().getPeer().host
    for _ in range(3):
        audited.world.context.gate.penalise(source, "failed")
    verdict = audited.audit()
    assert (verdict.findings, verdict.grade) == ([], "-")
    assert "penalty" in verdict.stopped
    assert audited.caller.count == 1


def test_a_relay_that_goes_away_meanwhile_keeps_its_grades_so_far() -> None:
    audited = Audited()
    audited.listens = 6
    verdict = audited.audit()
    assert (grades(verdict)["groups"], verdict.stopped) == ("A", "nobody listens")
    audited.listens = 0
    with pytest.raises(ConnectError):
        audited.audit()


@pytest.mark.parametrize(
    ("said", "instead", "checks"),
    [
        (b"code=bad-line\n", b"code=bad-line version=1.0\n", {"noise", "replay"}),
        (b"code=bad-line\n", b"code=busy\n", {"noise", "replay"}),
        (b"code=bad-share\n", b"code=protocol\n", {"shares"}),
        (b"code=protocol\n", b"code=bad-line\n", {"downgrade", "early-data"}),
        (b"code=auth-failed\n", b"code=busy\n", {"proofs"}),
        (b"code=timeout\n", b"code=busy\n", {"first-byte", "handshake"}),
    ],
)
def test_other_answers_than_the_uniform_ones_fail(
    said: bytes, instead: bytes, checks: set[str]
) -> None:
    audited = Audited()
    audited.alter = lambda data: data.replace(said, instead)
    found = grades(audited.audit(slow=True))
    assert {check for check, grade in found.items() if grade == "F"} == checks


def test_answers_to_equal_causes_that_differ_fail() -> None:
    audited = Audited()
    answers = iter((b"busy", b"bad-share", b"busy", b"auth-failed"))

    def alter(data: bytes) -> bytes:
        for code in (b"bad-share", b"auth-failed"):
            if data == b"SR1 ERR code=" + code + b"\n":
                return data.replace(code, next(answers))
        return data

    audited.alter = alter
    found = grades(audited.audit())
    assert (found["shares"], found["proofs"]) == ("F", "F")


def test_a_banner_fails_and_is_escaped() -> None:
    audited = Audited()
    audited.banner = b"\x1b[31mSecureRelay 1.0\r\n"
    found = audited.finding("silence", Who())
    assert found.grade == "F"
    assert found.reason.isprintable()
    assert "SecureRelay 1.0" in found.reason


def test_a_relay_that_forgets_knocks_fails() -> None:
    audited = Audited()
    audited.arm(knocks=KnockMemory(capacity=0))
    assert audited.finding("replay").grade == "F"


def test_shares_and_numbers_that_come_twice_fail() -> None:
    def said(nonce: int, share: int) -> Attempt:
        line = hello.write_relay_hello("s", bytes([nonce] * 32), "g", bytes([share]), False)
        return Attempt(hello=line, complete=object())  # type: ignore[arg-type]

    for attempts, grade in (
        ([said(1, 1), said(2, 2)], "A"),
        ([said(1, 1), said(1, 2)], "F"),
        ([said(1, 1), said(2, 1)], "F"),
    ):
        verdict = Verdict()
        Knowing(Caller(Pipe), verdict, bytes(32)).fresh(attempts)  # type: ignore[arg-type]
        assert grades(verdict) == {"fresh": grade}


@pytest.mark.parametrize(
    ("first", "whole", "found"),
    [(12, 25, ("B", "B")), (20, 28, ("C", "B")), (60, 70, ("D", "D"))],
)
def test_deadlines_are_graded_by_their_length(
    first: int, whole: int, found: tuple[str, str]
) -> None:
    limits = dataclasses.replace(Limits(), first_byte_seconds=first, handshake_seconds=whole)
    seen = grades(Audited(Config(limits=limits)).audit(Who(), slow=True))
    assert (seen["first-byte"], seen["handshake"]) == found


class Swallows:
    """A connection to somebody who takes everything and says nothing."""

    def send(self, data: bytes) -> None:
        pass

    def receive(self, seconds: float) -> bytes | None:
        return None

    def close(self) -> None:
        pass


def test_lines_without_end_are_told_of() -> None:
    verdict = Verdict()
    Outside(Caller(Swallows), verdict).long_line()
    assert grades(verdict) == {"line-limit": "D"}
    audited = Audited()
    audited.alter = lambda data: data.replace(b"too-long", b"bad-line")
    assert audited.finding("line-limit").grade == "C"


# --- with a profile ---


def test_a_profile_shows_tickets_sealing_and_renewal() -> None:
    audited = Audited(Config(policy=Policy(require_sealed=True)))
    found = grades(audited.audit(enrolled(audited)))
    assert (found["tickets"], found["sealing"], found["renewal"]) == ("A", "A", "A")


def test_a_relay_that_takes_what_is_not_sealed_is_told_of() -> None:
    audited = Audited(Config(policy=Policy(require_sealed=False)))
    assert audited.finding("sealing", enrolled(audited)).grade == "B"


def test_a_certificate_that_is_late_for_its_renewal_is_told_of() -> None:
    audited = Audited()
    who = enrolled(audited)
    audited.world.clock.advance(23 * DAY)
    found = audited.finding("renewal", who)
    assert found.grade == "B"
    assert "6 days left" in found.reason


def test_a_ticket_that_can_be_used_twice_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    audited = Audited()
    who = enrolled(audited)
    kept: dict[bytes, Any] = {}
    take = audited.world.context.tickets.take

    async def again(_: object, id_sha256: bytes, now: int, verify: Callable[[bytes], None]) -> Any:
        if id_sha256 in kept:
            verify(kept[id_sha256].ticket.psk)
        else:
            kept[id_sha256] = await take(id_sha256, now, verify)
        return kept[id_sha256]

    monkeypatch.setattr(type(audited.world.context.tickets), "take", again)
    assert audited.finding("tickets", who).grade == "F"


def test_tickets_that_do_not_resume_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    audited = Audited()
    who = enrolled(audited)

    async def nothing(*given: object) -> None:
        return None

    monkeypatch.setattr(type(audited.world.context.tickets), "take", nothing)
    assert audited.finding("tickets", who).grade == "C"


def test_no_tickets_are_fine() -> None:
    audited = Audited(Config(lifetimes=Lifetimes(ticket=0)))
    audited.arm(tickets=0)
    found = audited.finding("tickets", enrolled(audited))
    assert (found.grade, found.reason) == ("A", "it gives none")


def test_a_profile_that_was_revoked_leaves_the_rest_of_the_audit() -> None:
    audited = Audited()
    who = enrolled(audited)
    done(audited.world.store.revoke("alice", audited.world.context.now()))
    verdict = audited.audit(who)
    assert grades(verdict)["profile"] == "-"
    assert grades(verdict)["noise"] == "A"
