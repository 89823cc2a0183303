"""What a profile's database keeps of sealing, and what it keeps nothing of."""

from __future__ import annotations

import pathlib
import typing
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from securerelay.client.sealing import vault as vaults
from securerelay.client.sealing.vault import Contact, Notice, Unopened, Vault, scrub
from securerelay.client.state import State
from securerelay.errors import StorageError
from securerelay.sealing import pins, prekeys
from securerelay.sealing.pins import Former, Level
from securerelay.sealing.prekeys import Prekey
from tests.sealing.world import MS, RELAY_ID, alice, bob, mallory

KEY = b"d" * 32


class Drawer:
    """A vault with the database it is kept in."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.state = State(folder)
        self.vault = Vault(RELAY_ID, KEY)

    def do(self, job: Callable[[State], typing.Any]) -> typing.Any:
        (result,) = self.state.run([job])
        if isinstance(result, Exception):
            raise result
        return result

    def bytes(self) -> bytes:
        return b"".join(
            path.read_bytes() for path in self.state.path.parent.glob(self.state.path.name + "*")
        )


@pytest.fixture
def drawer(tmp_path: pathlib.Path) -> Iterator[Drawer]:
    made = Drawer(tmp_path)
    yield made
    made.state.close()


def test_a_contact_comes_back_as_it_was_written_down(drawer: Drawer):
    pin = pins.first_sight(bob().served())
    former = (Former(alice().identity, MS + 5),)
    renamed = [replace(one, identity=replace(one.identity, name="bob")) for one in former]
    pin = replace(pin, level=Level.CHANGED, former=tuple(renamed), number=MS + 1)
    blocked = replace(mallory().identity, name="bob")
    for one in (
        Contact(pin),
        Contact(replace(pin, blocked=blocked), bob().bundle(), MS, MS - 1),
    ):
        drawer.do(lambda state, one=one: drawer.vault.save_contact(state, one))
        assert drawer.do(lambda state: drawer.vault.contact(state, "bob")) == one
    assert drawer.do(lambda state: drawer.vault.contact(state, "carol")) is None
    assert [one.name for one in drawer.do(drawer.vault.contacts)] == ["bob"]


def test_a_prekey_opens_until_it_is_destroyed(drawer: Drawer):
    vault = drawer.vault
    one, other = Prekey.generate(), Prekey.generate()
    drawer.do(lambda state: vault.add_prekey(state, one, 5, MS))
    drawer.do(lambda state: vault.add_prekey(state, other, 6, MS + 1))
    assert [own.prekey for own in drawer.do(vault.prekeys)] == [one, other]
    assert [own.prekey for own in drawer.do(lambda state: vault.prekeys(state, [one.id]))] == [
        other
    ]
    drawer.do(lambda state: vault.supersede_prekeys(state, 6, MS + 2))
    assert drawer.do(vault.prekey_lives) == [(one.id, MS + 2), (other.id, None)]
    drawer.do(lambda state: vault.destroy_prekeys(state, [one.id]))
    assert [own.prekey for own in drawer.do(vault.prekeys)] == [other]
    assert drawer.do(vault.count_prekeys) == 1


def test_the_oldest_prekeys_make_room(drawer: Drawer, monkeypatch):
    monkeypatch.setattr(prekeys, "MOST", 2)
    made = [Prekey.generate() for _ in range(4)]
    for number, one in enumerate(made):
        drawer.do(lambda state, n=number, one=one: drawer.vault.add_prekey(state, one, n, MS))
    assert [one.prekey for one in drawer.do(drawer.vault.prekeys)] == made[2:]


def test_nothing_of_destroyed_prekeys_is_left_in_the_files(drawer: Drawer):
    vault, wrapped = drawer.vault, {}
    for number in range(300):
        prekey = Prekey.generate()
        drawer.do(lambda state, n=number, p=prekey: vault.add_prekey(state, p, n, MS))
        ((data,),) = drawer.state.db.execute(
            "SELECT private FROM prekey WHERE id = ?", (prekey.id,)
        ).fetchall()
        wrapped[prekey.id] = data
        assert data in drawer.bytes()
        assert prekey.private not in drawer.bytes(), "not even in the log"
    gone = list(wrapped)[:290:2] + list(wrapped)[1:290:2]
    for some in (gone[:145], gone[145:]):
        drawer.do(lambda state, some=some: vault.destroy_prekeys(state, some))
    assert scrub(drawer.state)
    left = drawer.bytes()
    assert not any(wrapped[one] in left or wrapped[one][12:44] in left for one in gone)
    assert all(wrapped[one] in left for one in wrapped if one not in gone)


def test_a_secret_opens_in_its_own_row_and_profile_alone(drawer: Drawer):
    wrapped = drawer.vault.wrap("prekey/1", b"secret")
    assert drawer.vault.unwrap("prekey/1", wrapped) == b"secret"
    for vault, row, data in (
        (drawer.vault, "prekey/2", wrapped),
        (Vault(RELAY_ID, b"e" * 32), "prekey/1", wrapped),
        (drawer.vault, "prekey/1", wrapped[:-1]),
        (drawer.vault, "prekey/1", b""),
    ):
        with pytest.raises(StorageError):
            vault.unwrap(row, data)


def message(seq: int, **changes: typing.Any) -> Unopened:
    one = Unopened(
        seq, "alice", "bob", "s" * 22, seq, MS, b"k" * 8, "unknown-prekey", MS, b"envelope"
    )
    return replace(one, **changes)


def test_what_did_not_open_is_kept_once_and_found_by_its_key(drawer: Drawer):
    vault = drawer.vault
    assert drawer.do(lambda state: vault.keep_unopened(state, message(1)))
    assert not drawer.do(lambda state: vault.keep_unopened(state, message(1)))
    assert drawer.do(lambda state: vault.keep_unopened(state, message(2, key=b"j" * 16)))
    (found,) = drawer.do(lambda state: vault.unopened(state, key=b"j" * 16))
    assert found == message(2, key=b"j" * 16, id=found.id)
    drawer.do(lambda state: vault.note_asked(state, found, MS + 7))
    (found,) = drawer.do(lambda state: vault.unopened(state, sender="alice", key=b"j" * 16))
    assert found.asked == (MS + 7,)
    drawer.do(lambda state: vault.drop_unopened(state, [found.id]))
    assert [one.seq for one in drawer.do(vault.unopened)] == [1]


def test_junk_fills_neither_the_table_nor_the_disk(drawer: Drawer, monkeypatch):
    monkeypatch.setattr(vaults, "MOST_UNOPENED", (3, 30))
    fill(drawer)


def test_junk_of_one_peer_leaves_others_their_room(drawer: Drawer, monkeypatch):
    monkeypatch.setattr(vaults, "MOST_UNOPENED_OF_ONE", (3, 30))
    fill(drawer)
    of_bob = message(9, body=bytes(20), sender="bob")
    assert drawer.do(lambda state: drawer.vault.keep_unopened(state, of_bob))


def fill(drawer: Drawer) -> None:
    """Keep more than there is room for: three messages, or 30 bytes."""

    def keep(*numbers: int, body: bytes | None) -> list[bool | None]:
        return [
            drawer.do(lambda state, n=n: drawer.vault.keep_unopened(state, message(n, body=body)))
            for n in numbers
        ]

    assert keep(0, 1, body=bytes(20)) == [True, None], "too many bytes"
    assert keep(2, 3, 4, 5, body=None) == [True, True, None, None], "too many messages"
    assert keep(3, body=None) == [False], "it is kept already"


def test_the_newest_notices_are_kept(drawer: Drawer, monkeypatch):
    monkeypatch.setattr(vaults, "MOST_NOTICES", 2)
    shown = [Notice(MS + n, "missing", "bob", f"{n} messages") for n in range(4)]
    for one in shown:
        drawer.do(lambda state, one=one: drawer.vault.add_notice(state, one))
    assert drawer.do(drawer.vault.notices) == shown[2:]
