"""The relay's data folder: made whole or not at all, and never taken from somebody else."""

from __future__ import annotations

import datetime
import fcntl
import os
import stat

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates

from securerelay import files
from securerelay.crypto import primitives
from securerelay.errors import FolderLocked, LocalError, StorageError, WrongPassphrase
from securerelay.identity import certificates, container, keyfile, pem, relayfolder
from securerelay.identity.relayfolder import SECRETS, RelayFolder, change_passphrase
from tests.keys import NOW, authority, rsa_key, spki

DAY = datetime.timedelta(days=1)


@pytest.fixture(autouse=True)
def cheap_passphrases(monkeypatch):
    """Trying a passphrase need not be slow here."""
    cheap = container.Cost(memory=64, passes=1, lanes=1)
    monkeypatch.setattr(container, "DEFAULT_COST", cheap)


def make_key(bits):
    return {4096: authority().key, 3072: rsa_key()}[bits]


def start(path, passphrase=None, *, now=NOW, **options):
    return RelayFolder.open(path, passphrase, now=now, make_key=make_key, **options)


def content_of(folder):
    """All that is in a folder but the lock, which whoever looks may make."""
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    found.pop("lock", None)
    return found


class TestFirstStart:
    def test_a_first_start_makes_everything_and_the_next_finds_it(self, tmp_path):
        first = start(tmp_path / "a" / "data")
        again = start(tmp_path / "a" / "data", create=False)
        assert (first.created, again.created) == (True, False)
        assert sorted(os.listdir(first.path)) == sorted([*SECRETS, "lock"])
        assert again.relay_id == first.relay_id == authority().relay_id
        assert again.certificate == first.certificate
        assert again.wrap_key == first.wrap_key
        assert len(first.wrap_key) == 32
        assert again.key.private_numbers() == rsa_key().private_numbers()
        assert (again.identity.name, again.identity.spki) == ("relay", spki())
        assert again.database.name == "relay.sqlite"
        assert again.admin_socket.name == "admin.sock"

    def test_real_keys_have_4096_and_3072_bits(self, tmp_path):
        asked = []

        def note(bits):
            asked.append(bits)
            return make_key(bits)

        RelayFolder.open(tmp_path / "data", now=NOW, make_key=note)
        assert asked == [4096, 3072]

    def test_the_folder_and_all_in_it_are_private(self, tmp_path):
        (tmp_path / "data").mkdir(mode=0o755)
        start(tmp_path / "data")
        assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
        for path in (tmp_path / "data").iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_an_empty_folder_of_a_new_disk_is_taken(self, tmp_path):
        (tmp_path / "lost+found").mkdir()
        assert start(tmp_path).created

    def test_two_relays_have_two_wrap_keys(self, tmp_path):
        assert start(tmp_path / "a").wrap_key != start(tmp_path / "b").wrap_key

    def test_no_relay_is_made_where_one_was_expected(self, tmp_path):
        with pytest.raises(StorageError, match="there is no relay in"):
            start(tmp_path / "data", create=False)
        assert os.listdir(tmp_path) == []

    def test_a_full_disk_leaves_nothing_behind(self, tmp_path, monkeypatch):
        real, calls = files.write_private, []

        def fail(path, data, **options):
            calls.append(path)
            if len(calls) == 4:
                raise LocalError(f"cannot write {path}: No space left on device")
            real(path, data, **options)

        for folder, left in ((tmp_path / "new", None), (tmp_path / "old", ["lock"])):
            calls.clear()
            if left is not None:
                folder.mkdir()
            with monkeypatch.context() as patch:
                patch.setattr(files, "write_private", fail)
                with pytest.raises(LocalError, match="No space left"):
                    start(folder)
            assert (os.listdir(folder) if folder.exists() else None) == left
            assert start(folder).created

    def test_a_first_start_that_was_cut_off_is_made_anew(self, tmp_path):
        start(tmp_path)
        for name in ("relay.crt", "wrap.key"):
            (tmp_path / name).unlink()
        (tmp_path / "unfinished").touch()
        (tmp_path / ".relay.crt.0123.tmp").touch()
        again = start(tmp_path)
        assert again.created
        assert sorted(os.listdir(tmp_path)) == sorted([*SECRETS, "lock"])

    def test_a_folder_that_was_in_use_is_never_made_anew(self, tmp_path):
        old = start(tmp_path).wrap_key
        (tmp_path / "unfinished").touch()
        (tmp_path / "relay.sqlite").touch()
        assert start(tmp_path).wrap_key == old


class TestRefusing:
    def refuse(self, path, error, words, **options):
        before = content_of(path)
        with pytest.raises(error, match=words) as caught:
            start(path, **options)
        assert "\n" not in str(caught.value)
        assert content_of(path) == before

    def test_a_foreign_folder_stays_as_it_is(self, tmp_path):
        (tmp_path / "photo.jpg").touch(0o644)
        tmp_path.chmod(0o755)
        self.refuse(tmp_path, StorageError, "not a relay's folder and not empty")
        assert os.listdir(tmp_path) == ["photo.jpg"]
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755

    @pytest.mark.parametrize("name", SECRETS)
    def test_a_folder_that_lost_a_file_stays_as_it_is(self, tmp_path, name):
        start(tmp_path)
        (tmp_path / name).unlink()
        self.refuse(tmp_path, StorageError, f"incomplete: {name} is missing")

    def test_a_database_without_its_secrets_stays_as_it_is(self, tmp_path):
        (tmp_path / "relay.sqlite").write_bytes(b"precious")
        self.refuse(tmp_path, StorageError, r"incomplete: ca\.key is missing")

    def test_a_file_is_no_folder(self, tmp_path):
        (tmp_path / "data").touch()
        with pytest.raises(StorageError, match="is no folder"):
            start(tmp_path / "data")

    def test_a_folder_that_cannot_be_made_is_told(self, tmp_path):
        os.symlink(tmp_path / "nowhere" / "data", tmp_path / "data")
        with pytest.raises(LocalError, match="cannot make the folder"):
            start(tmp_path / "data")
        with pytest.raises(StorageError, match=r"cannot use .*: File name too long"):
            start(tmp_path / ("x" * 300))

    def test_a_folder_of_another_user_is_refused(self, tmp_path, monkeypatch):
        start(tmp_path)
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        self.refuse(tmp_path, StorageError, "belongs to another user")

    def test_a_folder_that_cannot_be_written_is_refused(self, tmp_path, monkeypatch):
        start(tmp_path)
        monkeypatch.setattr(os, "access", lambda *_: False)
        self.refuse(tmp_path, StorageError, "cannot write in")

    def test_a_folder_that_cannot_be_looked_into_is_refused(self, tmp_path, monkeypatch):
        def denied(path):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(relayfolder.pathlib.Path, "iterdir", denied)
        with pytest.raises(StorageError, match=r"cannot use .*: Permission denied"):
            start(tmp_path)

    def test_a_disk_that_takes_no_new_file_is_told(self, tmp_path, monkeypatch):
        def full(path, *arguments, **options):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(relayfolder.pathlib.Path, "touch", full)
        with pytest.raises(StorageError, match=r"cannot write in .*: No space left"):
            start(tmp_path)

    def test_a_second_relay_on_the_folder_is_refused(self, tmp_path):
        start(tmp_path)
        with (tmp_path / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.refuse(tmp_path, FolderLocked, r"another relay \(pid unknown\) is running")
            with pytest.raises(FolderLocked, match="stop it first"):
                change_passphrase(tmp_path, None, b"x")
        start(tmp_path)

    def test_a_folder_that_another_one_just_made_is_taken_as_it_is(self, tmp_path, monkeypatch):
        made = start(tmp_path)
        real, answers = relayfolder._is_fresh, iter([True])
        monkeypatch.setattr(
            relayfolder, "_is_fresh", lambda path: next(answers, None) or real(path)
        )
        assert start(tmp_path).wrap_key == made.wrap_key

    def test_secrets_of_two_relays_do_not_fit_together(self, tmp_path):
        start(tmp_path)
        files.write_private(tmp_path / "ca.crt", pem.write(authority(1).certificate))
        self.refuse(tmp_path, StorageError, "do not fit together")

    def test_a_relay_certificate_of_another_authority_is_refused(self, tmp_path):
        start(tmp_path)
        other = authority(1).issue_relay("relay", spki(), NOW)
        files.write_private(tmp_path / "relay.crt", other.pem)
        self.refuse(tmp_path, StorageError, "do not fit together")

    def test_a_relay_certificate_for_another_key_is_refused(self, tmp_path):
        start(tmp_path)
        keyfile.save_key(tmp_path / "relay.key", rsa_key(2048, 1))
        self.refuse(tmp_path, StorageError, "not for the key")

    @pytest.mark.parametrize("name", SECRETS)
    def test_a_truncated_file_is_refused(self, tmp_path, name):
        start(tmp_path)
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:20])
        self.refuse(tmp_path, LocalError, name.partition(".")[0] + "\\.")

    def test_a_secret_that_others_can_read_is_refused(self, tmp_path):
        start(tmp_path)
        (tmp_path / "ca.key").chmod(0o644)
        self.refuse(tmp_path, LocalError, "chmod 600")


class TestPassphrase:
    def test_with_a_passphrase_no_secret_lies_open_for_a_moment(self, tmp_path, monkeypatch):
        real, written = files.write_private, []

        def watch(path, data, **options):
            written.append((path.name, container.is_wrapped(data)))
            real(path, data, **options)

        monkeypatch.setattr(files, "write_private", watch)
        start(tmp_path, b"one")
        for name in ("ca.key", "relay.key", "wrap.key"):
            assert [wrapped for path, wrapped in written if path == name] == [True]

    def test_with_a_passphrase_no_secret_lies_open(self, tmp_path):
        made = start(tmp_path, b"right")
        for name in ("ca.key", "relay.key", "wrap.key"):
            assert container.is_wrapped((tmp_path / name).read_bytes())
        assert start(tmp_path, b"right").wrap_key == made.wrap_key

    @pytest.mark.parametrize("passphrase", [b"wrong", None])
    def test_a_wrong_or_missing_passphrase_is_refused(self, tmp_path, passphrase):
        start(tmp_path, b"right")
        before = content_of(tmp_path)
        with pytest.raises(WrongPassphrase, match=r"ca\.key"):
            start(tmp_path, passphrase)
        assert content_of(tmp_path) == before

    @pytest.mark.parametrize("passphrase", [b"wrong", None])
    def test_the_same_goes_for_the_wrap_key(self, tmp_path, passphrase):
        start(tmp_path)
        files.write_private(tmp_path / "wrap.key", container.wrap(bytes(32), b"right"))
        with pytest.raises(WrongPassphrase, match=r"wrap\.key"):
            start(tmp_path, passphrase)

    def test_keys_that_were_plain_are_put_under_the_passphrase(self, tmp_path):
        made = start(tmp_path)
        assert start(tmp_path, b"new").wrap_key == made.wrap_key
        for name in ("ca.key", "relay.key", "wrap.key"):
            assert container.is_wrapped((tmp_path / name).read_bytes())
        with pytest.raises(WrongPassphrase):
            start(tmp_path)

    def test_the_passphrase_can_be_changed_and_taken_away(self, tmp_path):
        made = start(tmp_path, b"one")
        change_passphrase(tmp_path, b"one", b"two")
        for name in ("ca.key", "relay.key", "wrap.key"):
            assert container.is_wrapped((tmp_path / name).read_bytes())
        assert start(tmp_path, b"two").wrap_key == made.wrap_key
        with pytest.raises(WrongPassphrase):
            change_passphrase(tmp_path, b"one", None)
        with pytest.raises(WrongPassphrase):
            change_passphrase(tmp_path, b"one", b"three")
        change_passphrase(tmp_path, b"two", None)
        assert start(tmp_path).wrap_key == made.wrap_key

    @pytest.mark.parametrize("crash", [2, 3])
    def test_a_change_that_was_cut_off_is_completed_by_the_same_call(
        self, tmp_path, monkeypatch, crash
    ):
        made = start(tmp_path, b"one")
        real, calls = files.write_private, []

        def fail(path, data, **options):
            calls.append(path)
            if len(calls) == crash:
                raise KeyboardInterrupt
            real(path, data, **options)

        with monkeypatch.context() as patch:
            patch.setattr(files, "write_private", fail)
            with pytest.raises(KeyboardInterrupt):
                change_passphrase(tmp_path, b"one", b"two")
        change_passphrase(tmp_path, b"one", b"two")
        assert start(tmp_path, b"two").wrap_key == made.wrap_key

    def test_there_is_nothing_to_change_where_no_relay_is(self, tmp_path):
        with pytest.raises(StorageError, match="there is no relay in"):
            change_passphrase(tmp_path / "data", None, b"x")
        assert os.listdir(tmp_path) == []


class TestRenewal:
    def test_the_relay_renews_its_certificate_after_two_thirds_of_its_life(self, tmp_path):
        made = start(tmp_path)
        before = made.certificate
        assert not made.renew(NOW + 59 * DAY)
        assert start(tmp_path, now=NOW + 59 * DAY).certificate == before
        assert made.renew(NOW + 60 * DAY)
        assert made.certificate != before
        assert made.identity.spki == spki()
        assert not made.identity.expired(NOW + 149 * DAY)
        assert start(tmp_path, now=NOW + 61 * DAY).certificate == made.certificate

    def test_a_relay_that_slept_for_a_year_wakes_up_valid(self, tmp_path):
        start(tmp_path)
        later = NOW + 365 * DAY
        woken = start(tmp_path, now=later)
        check = certificates.check_relay(woken.authority.spki, woken.certificate, now=later)
        assert check.name == "relay"

    def test_a_certificate_from_the_future_is_renewed_too(self, tmp_path):
        made = start(tmp_path, now=NOW + 365 * DAY)
        assert made.renew(NOW)
        assert not made.identity.expired(NOW)

    def test_the_relay_can_be_renamed_and_its_certificates_shortened(self, tmp_path):
        start(tmp_path)
        renamed = start(tmp_path, name="hub", days=30)
        assert renamed.identity.name == "hub"
        assert renamed.identity.not_after - renamed.identity.not_before == 30 * DAY
        assert not renamed.renew(NOW)
        assert renamed.renew(NOW, "hub2")


def test_a_tls_endpoint_gets_a_key_and_a_chain(tmp_path, monkeypatch):
    made = start(tmp_path)
    monkeypatch.setattr(keyfile, "generate_key", rsa_key)
    key, chain = made.issue_tls(["relay.example", "192.0.2.1"], NOW)
    public = load_pem_private_key(key, None).public_key()
    leaf, ca = load_pem_x509_certificates(chain)
    assert primitives.spki(public) == primitives.spki(leaf.public_key())
    assert primitives.spki(ca.public_key()) == made.authority.spki
    assert sorted(os.listdir(tmp_path)) == sorted([*SECRETS, "lock"])
    assert repr(made) == f"<RelayFolder {tmp_path}>"
