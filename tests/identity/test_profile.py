"""A client's profile: what survives a crash, a lost reply, and a second program on it."""

# More than 400 lines: everything that can happen to one folder.

from __future__ import annotations

import datetime
import json
import os
import stat
import threading

import pytest

from securerelay import files
from securerelay.crypto import contexts, primitives
from securerelay.errors import (
    CertificateError,
    KeyFileError,
    LocalError,
    ProfileError,
    WrongPassphrase,
)
from securerelay.identity import container, keyfile, profile, profilefile
from securerelay.identity.invitation import Invitation
from securerelay.identity.profile import Profile
from securerelay.protocol.connection import ClientTicket
from tests.keys import NOW, authority, rsa_key, spki

SECONDS = int(NOW.timestamp())
DAY = datetime.timedelta(days=1)


@pytest.fixture(autouse=True)
def cheap_passphrases(monkeypatch):
    """Trying a passphrase need not be slow here."""
    cheap = container.Cost(memory=64, passes=1, lanes=1)
    monkeypatch.setattr(container, "DEFAULT_COST", cheap)


def invite(name="alice", relay=0, host="relay.example"):
    return Invitation.create(authority(relay).relay_id, host, 3000, name, SECONDS + 3600)


def join(path, invitation=None, **options):
    return Profile.join(path, invitation or invite(), **{"key": rsa_key(), **options})


def issue(name="alice", key=None, relay=0, now=NOW):
    return authority(relay).issue_peer(name, key or spki(), now).der


def enrol(path, **options):
    made = join(path, **options)
    made.accept(issue(), ca_spki=authority().spki, relay_name="hub", now=NOW)
    return made


def ticket(number, expiry=SECONDS + 60):
    return ClientTicket(bytes([number]) * 16, bytes(48), expiry, b"certificate", b"spki")


def content_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class TestJoining:
    def test_key_and_invitation_are_on_disk_before_anything_is_sent(self, tmp_path):
        invitation = invite()
        join(tmp_path / "p", invitation)
        again = Profile.open(tmp_path / "p")
        assert not again.enrolled
        assert again.invitation == invitation
        assert again.key().private_numbers() == rsa_key().private_numbers()
        assert (again.name, again.relay_id) == ("alice", authority().relay_id)
        assert (again.addresses, again.relay_name) == ((("relay.example", 3000),), None)

    def test_all_of_it_is_private(self, tmp_path):
        enrol(tmp_path / "p").save_tickets((ticket(1),))
        assert stat.S_IMODE((tmp_path / "p").stat().st_mode) == 0o700
        for path in (tmp_path / "p").iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_a_key_is_made_when_none_is_given(self, tmp_path, monkeypatch):
        monkeypatch.setattr(keyfile, "generate_key", rsa_key)
        made = Profile.join(tmp_path / "p", invite(), bits=2048)
        assert made.key() is rsa_key(2048)

    def test_a_lost_reply_is_asked_for_again_with_the_same_key_and_token(self, tmp_path):
        invitation = invite()
        first = join(tmp_path / "p", invitation).enrolment()
        second = Profile.join(tmp_path / "p", invitation).enrolment()
        assert (first.token, first.spki, first.seed) == (second.token, second.spki, second.seed)
        assert first.seed == invitation.signing_seed
        signature = second.sign(contexts.ENROL_POSSESSION, bytes(48))
        public = primitives.load_rsa_spki(first.spki)
        assert primitives.verify_pss(public, contexts.ENROL_POSSESSION, bytes(48), signature)

    def test_the_enrolment_has_what_the_invitation_says_and_the_key_in_the_file(self, tmp_path):
        invitation = invite()
        join(tmp_path / "p", invitation, passphrase=b"right")
        made = Profile.open(tmp_path / "p")
        with pytest.raises(WrongPassphrase):
            made.enrolment()
        enrolment = made.enrolment(b"right")
        assert (enrolment.token, enrolment.name) == (invitation.token, "alice")
        assert enrolment.spki == spki()

    def test_a_newer_invitation_for_the_same_name_keeps_the_key(self, tmp_path):
        join(tmp_path / "p")
        newer = invite(host="other.example")
        made = Profile.join(tmp_path / "p", newer)
        assert made.enrolment().spki == spki()
        assert made.invitation == newer
        assert made.addresses == (("other.example", 3000),)

    @pytest.mark.parametrize("other", [invite("bob"), invite(relay=1)])
    def test_a_profile_that_waits_for_something_else_is_left_alone(self, tmp_path, other):
        join(tmp_path / "p")
        before = content_of(tmp_path / "p")
        with pytest.raises(ProfileError, match="waits to join as alice"):
            Profile.join(tmp_path / "p", other)
        assert content_of(tmp_path / "p") == before

    def test_an_enrolled_profile_is_left_alone(self, tmp_path):
        enrol(tmp_path / "p")
        before = content_of(tmp_path / "p")
        with pytest.raises(ProfileError, match="the profile of alice already"):
            Profile.join(tmp_path / "p", invite())
        assert content_of(tmp_path / "p") == before

    def test_a_key_that_lies_in_the_folder_is_used_and_never_replaced(self, tmp_path):
        keyfile.save_key(tmp_path / "key.pem", rsa_key(2048, 1))
        with pytest.raises(LocalError, match="exists already"):
            join(tmp_path)
        assert Profile.join(tmp_path, invite()).enrolment().spki == spki(2048, 1)

    def test_a_wrong_passphrase_changes_nothing(self, tmp_path):
        join(tmp_path / "p", passphrase=b"right")
        before = content_of(tmp_path / "p")
        for passphrase in (b"wrong", None):
            with pytest.raises(WrongPassphrase):
                Profile.join(tmp_path / "p", invite(), passphrase=passphrase)
        assert content_of(tmp_path / "p") == before

    def test_a_crash_before_the_profile_is_written_costs_nothing(self, tmp_path, monkeypatch):
        def crash(path, facts):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(profilefile, "write", crash)
            with pytest.raises(KeyboardInterrupt):
                join(tmp_path / "p")
        with pytest.raises(ProfileError):
            Profile.open(tmp_path / "p")
        assert Profile.join(tmp_path / "p", invite()).enrolment().spki == spki()

    def test_two_at_once_end_with_one_key(self, tmp_path):
        invitation = invite()
        keys = iter([rsa_key(2048, 0), rsa_key(2048, 1)])
        made = []

        def one():
            # No key is given, so each would make its own.
            made.append(Profile.join(tmp_path / "p", invitation).enrolment().spki)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(keyfile, "generate_key", lambda bits: next(keys))
            threads = [threading.Thread(target=one) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert made == [spki(), spki()]


class TestAccepting:
    def test_the_certificate_ends_the_enrolment(self, tmp_path):
        enrol(tmp_path / "p")
        made = Profile.open(tmp_path / "p")
        assert made.enrolled
        assert made.invitation is None
        assert (made.relay_name, made.ca_spki) == ("hub", authority().spki)
        assert (made.peer.name, made.peer.spki) == ("alice", spki())
        assert b"sr1i_" not in (tmp_path / "p" / "profile.json").read_bytes()
        with pytest.raises(ProfileError, match="has joined its relay already"):
            made.enrolment()

    def test_the_credential_proves_the_key(self, tmp_path):
        credential = enrol(tmp_path / "p").credential()
        signature = credential.sign(contexts.PEER_VERIFY, bytes(48))
        public = primitives.load_rsa_spki(spki())
        assert primitives.verify_pss(public, contexts.PEER_VERIFY, bytes(48), signature)
        assert credential.certificate == Profile.open(tmp_path / "p").certificate

    def test_before_it_there_is_no_credential(self, tmp_path):
        made = join(tmp_path / "p")
        for ask in (made.credential, lambda: made.certificate, lambda: made.ca_spki):
            with pytest.raises(ProfileError, match="has not joined its relay yet"):
                ask()

    @pytest.mark.parametrize(
        "certificate",
        [
            issue("bob"),
            issue(key=spki(2048, 1)),
            issue(relay=1),
            issue(now=NOW - 60 * DAY),
            authority().issue_relay("alice", spki(), NOW).der,
            b"junk",
        ],
    )
    def test_a_certificate_that_is_not_ours_changes_nothing(self, tmp_path, certificate):
        made = join(tmp_path / "p")
        before = content_of(tmp_path / "p")
        with pytest.raises(CertificateError):
            made.accept(certificate, ca_spki=authority().spki, relay_name="hub", now=NOW)
        assert content_of(tmp_path / "p") == before
        assert not made.enrolled

    def test_an_authority_that_is_not_the_relays_is_refused(self, tmp_path):
        made = join(tmp_path / "p")
        with pytest.raises(CertificateError, match="not this profile's relay's"):
            made.accept(issue(relay=1), ca_spki=authority(1).spki, relay_name="hub", now=NOW)

    def test_the_same_certificate_twice_is_no_error_but_another_one_is(self, tmp_path):
        waiting = join(tmp_path / "p")
        der = issue()
        for one in (waiting, Profile.open(tmp_path / "p")):
            one.accept(der, ca_spki=authority().spki, relay_name="hub", now=NOW)
        waiting.accept(der, ca_spki=authority().spki, relay_name="hub", now=NOW)
        with pytest.raises(ProfileError, match="already"):
            waiting.accept(issue(), ca_spki=authority().spki, relay_name="hub", now=NOW)

    def test_a_renewed_certificate_replaces_the_old_one_for_every_program(self, tmp_path):
        made, other = enrol(tmp_path / "p"), Profile.open(tmp_path / "p")
        later = NOW + 20 * DAY
        renewed = issue(now=later)
        made.save_certificate(renewed, now=later)
        assert made.certificate == renewed
        assert other.certificate != renewed
        other.reload()
        assert other.certificate == renewed
        with pytest.raises(CertificateError):
            made.save_certificate(issue("bob"), now=later)
        assert made.certificate == renewed

    def test_addresses_can_be_changed(self, tmp_path):
        made = enrol(tmp_path / "p")
        made.save_addresses((("2001:db8::1", 1), ("relay.example", 2)))
        again = Profile.open(tmp_path / "p")
        assert again.addresses == (("2001:db8::1", 1), ("relay.example", 2))
        assert again.certificate == made.certificate

    def test_the_profile_says_who_it_is_and_nothing_secret(self, tmp_path):
        assert repr(join(tmp_path / "p")) == f"<Profile alice in {tmp_path / 'p'}>"


class TestTickets:
    def test_a_ticket_is_gone_from_the_disk_before_it_is_used(self, tmp_path):
        made = enrol(tmp_path / "p")
        made.save_tickets((ticket(1), ticket(2)))
        assert made.take_ticket(SECONDS) == ticket(1)
        assert Profile.open(tmp_path / "p").take_ticket(SECONDS) == ticket(2)
        assert made.take_ticket(SECONDS) is None
        assert not (tmp_path / "p" / "tickets").exists()

    def test_no_ticket_is_used_if_it_cannot_be_removed(self, tmp_path, monkeypatch):
        made = enrol(tmp_path / "p")
        made.save_tickets((ticket(1),))

        def fail(descriptor):
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(LocalError, match="Input/output error"):
            made.take_ticket(SECONDS)

    def test_new_tickets_replace_the_old_ones(self, tmp_path):
        made = enrol(tmp_path / "p")
        made.save_tickets((ticket(1),))
        made.save_tickets((ticket(2),))
        assert made.take_ticket(SECONDS) == ticket(2)
        made.save_tickets((ticket(3),))
        made.save_tickets(())
        assert made.take_ticket(SECONDS) is None

    def test_an_expired_ticket_is_not_used(self, tmp_path):
        made = enrol(tmp_path / "p")
        made.save_tickets((ticket(1, SECONDS), ticket(2, SECONDS + 1)))
        assert made.take_ticket(SECONDS) == ticket(2, SECONDS + 1)

    def test_tickets_show_nothing_on_disk(self, tmp_path):
        made = enrol(tmp_path / "p")
        made.save_tickets((ticket(1),))
        data = (tmp_path / "p" / "tickets").read_bytes()
        assert b"certificate" not in data
        assert b"psk" not in data

    @pytest.mark.parametrize("data", [b"", b"junk" * 20])
    def test_damaged_tickets_only_cost_a_full_handshake(self, tmp_path, data):
        made = enrol(tmp_path / "p")
        files.write_private(tmp_path / "p" / "tickets", data)
        assert made.take_ticket(SECONDS) is None

    def test_tickets_cannot_be_had_without_the_passphrase(self, tmp_path):
        made = enrol(tmp_path / "p", passphrase=b"right")
        made.save_tickets((ticket(1),))
        stolen = Profile.open(tmp_path / "p")
        assert stolen.take_ticket(SECONDS) is None
        stolen.key(b"right")
        assert stolen.take_ticket(SECONDS) == ticket(1)

    def test_two_programs_never_get_the_same_ticket(self, tmp_path):
        enrol(tmp_path / "p").save_tickets(tuple(ticket(n) for n in range(20)))
        taken = []

        def take():
            mine = Profile.open(tmp_path / "p")
            while (one := mine.take_ticket(SECONDS)) is not None:
                taken.append(one.id)

        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(taken) == [ticket(n).id for n in range(20)]


class TestKey:
    def test_the_passphrase_can_be_changed_and_taken_away(self, tmp_path):
        made = enrol(tmp_path / "p", passphrase=b"one")
        assert made.protected()
        made.change_passphrase(b"one", b"two")
        with pytest.raises(WrongPassphrase):
            Profile.open(tmp_path / "p").key(b"one")
        with pytest.raises(WrongPassphrase):
            made.change_passphrase(b"one", b"three")
        made.change_passphrase(b"two", None)
        assert not Profile.open(tmp_path / "p").protected()

    def test_a_lost_key_is_told(self, tmp_path):
        enrol(tmp_path / "p")
        (tmp_path / "p" / "key.pem").write_bytes(b"")
        with pytest.raises(KeyFileError, match="no private key"):
            Profile.open(tmp_path / "p").credential()


class TestFile:
    def damaged(self, folder, change):
        path = enrol(folder).path / profile.FILE
        content = json.loads(path.read_bytes())
        change(content)
        path.write_bytes(json.dumps(content).encode())
        return Profile.open(folder)

    @pytest.mark.parametrize(
        "change",
        [
            lambda c: c.update(version=2),
            lambda c: c.update(more=1),
            lambda c: c.pop("name"),
            lambda c: c.update(relay_id="00"),
            lambda c: c.update(relay_id=5),
            lambda c: c.update(addresses=[]),
            lambda c: c.update(addresses=["x"]),
            lambda c: c.update(addresses=None),
            lambda c: c.update(certificate=None),
            lambda c: c.update(certificate="*"),
            lambda c: c.update(certificate="é"),
            lambda c: c.update(ca_spki=None, certificate=None),
            lambda c: c.update(invitation=invite().uri()),
            lambda c: c.update(name=5),
        ],
    )
    def test_a_damaged_profile_is_told_in_one_line(self, tmp_path, change):
        with pytest.raises(ProfileError, match="is damaged, or of another version"):
            self.damaged(tmp_path / "p", change)

    @pytest.mark.parametrize(
        ("key", "value"), [("name", "Al"), ("relay_name", "H\n"), ("invitation", "x")]
    )
    def test_a_profile_that_says_the_impossible_is_told_in_one_line(self, tmp_path, key, value):
        with pytest.raises(ProfileError) as caught:
            self.damaged(tmp_path / "p", lambda c: c.update({key: value}))
        assert "\n" not in caught.value.message

    @pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
    def test_what_is_no_profile_is_told(self, tmp_path, data):
        files.write_private(tmp_path / profile.FILE, data)
        with pytest.raises(ProfileError, match="is damaged"):
            Profile.open(tmp_path)

    def test_a_profile_without_its_authority_is_told(self, tmp_path):
        made = self.damaged(tmp_path / "p", lambda c: c.update(ca_spki=""))
        with pytest.raises(ProfileError, match="no authority's key"):
            assert made.peer

    def test_a_profile_that_others_can_read_is_refused(self, tmp_path):
        (enrol(tmp_path / "p").path / profile.FILE).chmod(0o644)
        with pytest.raises(ProfileError, match="chmod 600"):
            Profile.open(tmp_path / "p")
