"""A profile goes into one encrypted file and comes out as it was, but for what must stay behind."""

from __future__ import annotations

import contextlib
import pathlib
import stat

import pytest

from securerelay import files
from securerelay.client import copies
from securerelay.client.rows import ACCEPTED, Change, Outgoing, Verdict
from securerelay.client.sealing import letters as letters_
from securerelay.client.sealing import own
from securerelay.client.sealing.roomvault import RoomVault
from securerelay.client.sealing.vault import Contact, Vault
from securerelay.client.state import NAME, State
from securerelay.errors import LocalError, ProfileError, StorageError, WrongPassphrase
from securerelay.identity import container
from securerelay.identity.invitation import Invitation
from securerelay.identity.profile import Profile
from securerelay.protocol.connection import ClientTicket
from securerelay.sealing import pins, roomlist
from securerelay.sealing.pins import Level, Pin
from securerelay.sealing.prekeys import Prekey
from tests.keys import NOW, authority, rsa_key, spki
from tests.sealing import world
from tests.sealing.world import RELAY_ID

MS = int(NOW.timestamp() * 1000)
PREKEY = Prekey.generate()
ROOM = world.room(world.alice(), world.bob())
PIN = roomlist.take(ROOM, None)
ROOM_KEY = world.room_key(ROOM, world.bob())


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "DEFAULT_COST", container.Cost(memory=64, passes=1, lanes=1))


@pytest.fixture
def home(tmp_path: pathlib.Path) -> pathlib.Path:
    """A profile of alice's with a ticket, settings, a message in the outbox, and one dealt with."""
    path = tmp_path / "alice"
    expiry = int(NOW.timestamp()) + 3600
    invitation = Invitation.create(authority().relay_id, "relay.example", 3000, "alice", expiry)
    made = Profile.join(path, invitation, key=rsa_key(), passphrase=b"of the key")
    certificate = authority().issue_peer("alice", spki(), NOW).der
    made.accept(certificate, ca_spki=authority().spki, relay_name="hub", now=NOW)
    made.save_tickets((ClientTicket(bytes(16), bytes(48), expiry, b"certificate", b"spki"),))
    keys = made.sealing_keys()
    files.write_private(path / "client.toml", b"[send]\nwait = 'delivered'\n")
    state = State(path)
    vault = Vault(authority().relay_id, keys.data_key)
    rooms = RoomVault(vault)
    state.run(
        [
            lambda state: state.apply(_outgoing()),
            lambda state: state.deal(_dealt(), MS),
            lambda state: vault.add_prekey(state, PREKEY, 1, MS),
            lambda state: vault.set_fact(state, own.PUBLISHED, MS),
            lambda state: vault.set_fact(state, own.NUMBER, 1),
            lambda state: rooms.save(state, PIN, ROOM, MS),
            lambda state: rooms.add_key(state, ROOM_KEY, MS),
            lambda state: vault.save_contact(state, Contact(pins.verify(_bob()))),
        ]
    )
    state.close()
    return path


def _outgoing() -> Change:
    return Change("s" * 22, "owner", MS, [Outgoing(1, "bob", None, False, b"not yet sent")], last=1)


def _bob() -> Pin:
    return pins.first_sight(world.bob().served())


def _dealt() -> dict[tuple[str, str], list[int]]:
    return {("bob", "b" * 22): [1, 2]}


def moved(home: pathlib.Path, tmp_path: pathlib.Path) -> Profile:
    copies.export(home, tmp_path / "file", b"secret")
    return copies.restore(copies.read(tmp_path / "file", b"secret"), tmp_path / "new")


def test_the_profile_comes_out_as_it_was(home: pathlib.Path, tmp_path: pathlib.Path):
    before, after = Profile.open(home), moved(home, tmp_path)
    assert (after.name, after.certificate) == (before.name, before.certificate)
    assert after.key(b"of the key").private_numbers() == rsa_key().private_numbers()
    assert (after.path / "client.toml").read_bytes() == (home / "client.toml").read_bytes()


def test_its_key_stays_under_its_own_passphrase(home: pathlib.Path, tmp_path: pathlib.Path):
    with pytest.raises(WrongPassphrase):
        moved(home, tmp_path).key(b"secret")


def test_the_outbox_and_what_was_dealt_with_come_along(home: pathlib.Path, tmp_path: pathlib.Path):
    state = State(moved(home, tmp_path).path)
    with contextlib.closing(state):
        (left,) = state.left("nobody", None)
        assert [one.body for one in state.load(left.stream, 0, 9)] == [b"not yet sent"]
        assert 2 in state.recall([("bob", "b" * 22)])[0]


def test_contacts_come_along_with_what_was_verified(home: pathlib.Path, tmp_path: pathlib.Path):
    after = moved(home, tmp_path)
    after.key(b"of the key")
    vault, state = Vault(after.relay_id, after.sealing_keys().data_key), State(after.path)
    with contextlib.closing(state):
        (contact,) = vault.contacts(state)
        assert (contact.name, contact.pin.level) == ("bob", Level.VERIFIED)


def test_what_opens_the_past_stays_behind_without_a_trace(
    home: pathlib.Path, tmp_path: pathlib.Path
):
    after = moved(home, tmp_path)
    with contextlib.closing(State(after.path)) as state:
        for table in ("prekey", "room_key"):
            assert state.db.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    for secret in (PREKEY.id, ROOM_KEY.id):
        assert secret in b"".join(path.read_bytes() for path in home.glob(f"{NAME}*"))
        assert secret not in b"".join(path.read_bytes() for path in after.path.iterdir())


def test_what_was_sent_stays_behind_and_what_was_not_comes_along(
    home: pathlib.Path, tmp_path: pathlib.Path
):
    letters = [
        Outgoing(seq, "bob", None, False, b"wrapped %d" % seq, form=letters_.LETTER)
        for seq in (1, 2)
    ]
    change = Change("l" * 22, "owner", MS, letters, last=2)
    change.verdicts.append(Verdict(ACCEPTED, 1, 1, MS))
    with contextlib.closing(State(home)) as state:
        state.run([lambda state: state.apply(change)])
        kept = state.db.execute("SELECT count(*) FROM message WHERE body IS NOT NULL").fetchone()
        assert kept == (3,), "it could be asked for again"
    after = moved(home, tmp_path)
    with contextlib.closing(State(after.path)) as state:
        assert [one.body for one in state.load("l" * 22, 0, 9)] == [b"wrapped 2"]
        assert state.find("l" * 22, 1) is not None, "that it was sent is known"
    assert b"wrapped 1" not in b"".join(path.read_bytes() for path in after.path.iterdir())


def test_a_copy_without_prekeys_does_not_take_the_last_one_for_fresh(
    home: pathlib.Path, tmp_path: pathlib.Path
):
    after = moved(home, tmp_path)
    vault = Vault(after.relay_id, bytes(32))
    with contextlib.closing(State(after.path)) as state:
        assert vault.fact(state, own.PUBLISHED) == 0
        assert vault.fact(state, own.NUMBER) == 1


def test_rooms_and_their_lists_come_along(home: pathlib.Path, tmp_path: pathlib.Path):
    with contextlib.closing(State(moved(home, tmp_path).path)) as state:
        assert RoomVault(Vault(RELAY_ID, bytes(32))).room(state, "@team") == (PIN, ROOM)


def test_tickets_stay_behind_for_each_works_once(home: pathlib.Path, tmp_path: pathlib.Path):
    after = moved(home, tmp_path)
    assert (home / "tickets").exists()
    assert not (after.path / "tickets").exists()


def test_everything_is_for_its_owner_alone(home: pathlib.Path, tmp_path: pathlib.Path):
    after = moved(home, tmp_path)
    for path in (tmp_path / "file", *after.path.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(after.path.stat().st_mode) == 0o700


def test_nothing_is_left_of_making_it(home: pathlib.Path, tmp_path: pathlib.Path):
    before = {path.name for path in home.iterdir()} | {"state.sqlite-wal", "state.sqlite-shm"}
    moved(home, tmp_path)
    assert {path.name for path in home.iterdir()} <= before
    assert {path.name for path in tmp_path.iterdir()} == {"alice", "file", "new"}


def test_the_file_shows_nothing(home: pathlib.Path, tmp_path: pathlib.Path):
    copies.export(home, tmp_path / "file", b"secret")
    data = (tmp_path / "file").read_bytes()
    assert data.startswith(b"-----BEGIN SECURERELAY WRAPPED PROFILE-----\n")
    assert b"alice" not in data


def test_it_never_takes_the_place_of_a_file(home: pathlib.Path, tmp_path: pathlib.Path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(LocalError, match="exists already"):
        copies.export(home, tmp_path / "file", b"secret")
    assert (tmp_path / "file").read_text() == "precious"


def test_it_never_takes_the_place_of_a_profile(home: pathlib.Path, tmp_path: pathlib.Path):
    copies.export(home, tmp_path / "file", b"secret")
    before = {path.name: path.read_bytes() for path in home.iterdir()}
    with pytest.raises(ProfileError, match="there is something in"):
        copies.restore(copies.read(tmp_path / "file", b"secret"), home)
    assert {path.name: path.read_bytes() for path in home.iterdir()} == before


def test_it_needs_its_passphrase(home: pathlib.Path, tmp_path: pathlib.Path):
    copies.export(home, tmp_path / "file", b"secret")
    with pytest.raises(WrongPassphrase):
        copies.read(tmp_path / "file", b"guess")


@pytest.mark.parametrize("content", [b"", b"hello", b"-----BEGIN SECURERELAY WRAPPED KEY-----\n"])
def test_another_file_is_called_so(tmp_path: pathlib.Path, content: bytes):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(LocalError, match="is no profile that was exported"):
        copies.read(tmp_path / "file", b"secret")


def test_a_wrapped_key_is_no_profile(home: pathlib.Path):
    with pytest.raises(LocalError, match="is no profile that was exported"):
        copies.read(home / "key.pem", b"of the key")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"anything", "cannot be used"),
        (copies._FORM.write({1: b"\2", 2: b"{}", 3: b"k"}), "newer version"),
    ],
)
def test_a_content_of_another_kind_is_called_so(tmp_path: pathlib.Path, content, words: str):
    wrapped = container.wrap(content, b"secret", what=copies.WHAT)
    (tmp_path / "file").write_bytes(wrapped)
    with pytest.raises(LocalError, match=words):
        copies.read(tmp_path / "file", b"secret")


def test_what_holds_no_profile_leaves_nothing_behind(home: pathlib.Path, tmp_path: pathlib.Path):
    copies.export(home, tmp_path / "file", b"secret")
    values = copies.read(tmp_path / "file", b"secret")
    for kind, kinds in ((2, ProfileError), (copies._STATE, StorageError)):
        with pytest.raises(kinds):
            copies.restore({**values, kind: b"{}"}, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"alice", "file"}


def test_a_profile_that_has_not_joined_is_not_worth_a_file(tmp_path: pathlib.Path):
    expiry = int(NOW.timestamp()) + 3600
    invitation = Invitation.create(authority().relay_id, "relay.example", 3000, "alice", expiry)
    Profile.join(tmp_path / "alice", invitation, key=rsa_key())
    with pytest.raises(ProfileError, match="not joined"):
        copies.export(tmp_path / "alice", tmp_path / "file", b"secret")
    assert not (tmp_path / "file").exists()


def test_a_profile_that_never_sent_or_received_can_move_too(
    home: pathlib.Path, tmp_path: pathlib.Path
):
    (home / NAME).unlink()
    assert not (moved(home, tmp_path).path / NAME).exists()
