"""A profile's next key: wherever the machine stops, the profile is the old one or the new one."""

from __future__ import annotations

import functools
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator

import pytest

from securerelay import files
from securerelay.crypto import primitives
from securerelay.errors import CertificateError, LocalError, ProfileError, WrongPassphrase
from securerelay.identity import container, keyfile, switching
from securerelay.identity.nextkey import NextKey
from securerelay.identity.profile import KEY, SEALING, TICKETS, Profile
from tests.identity.test_profile import issue, join, ticket
from tests.keys import NOW, authority, rsa_key, spki

NEXT = 7


@pytest.fixture(autouse=True)
def ready_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyfile, "generate_key", lambda bits: rsa_key(index=NEXT))
    monkeypatch.setattr(container, "DEFAULT_COST", container.Cost(memory=64, passes=1, lanes=1))


def succeed(key: bytes, seed: bytes) -> bytes:
    return b"(%d)" % len(seed)


def opened(path: pathlib.Path, passphrase: bytes | None = None) -> Profile:
    made = Profile.open(path)
    made.key(passphrase)
    return made


def prepare(path: pathlib.Path, passphrase: bytes | None = None) -> NextKey:
    return NextKey.prepare(opened(path, passphrase), succeed, passphrase=passphrase)


@functools.cache
def present() -> bytes:
    return bytes(issue())


@functools.cache
def following() -> bytes:
    return bytes(issue(key=spki(index=NEXT)))


def enrol(path: pathlib.Path, **options: object) -> Profile:
    made: Profile = join(path, **options)
    made.accept(present(), ca_spki=authority().spki, relay_name="hub", now=NOW)
    return made


def test_it_waits_while_the_present_one_is_used(tmp_path: pathlib.Path) -> None:
    before = enrol(tmp_path / "p").sealing_keys()
    waiting = prepare(tmp_path / "p")
    assert waiting.spki == switching.waiting(tmp_path / "p") == spki(index=NEXT)
    again = opened(tmp_path / "p")
    assert again.peer.spki == spki()
    assert again.credential().certificate == present()
    assert again.sealing_keys() == before


def test_it_takes_the_place_of_the_present_one_with_all_that_belongs_to_it(
    tmp_path: pathlib.Path,
) -> None:
    made = enrol(tmp_path / "p")
    before = made.sealing_keys()
    made.save_tickets((ticket(1),))
    after = prepare(tmp_path / "p").adopt(following(), now=NOW)
    for one in (after, opened(tmp_path / "p")):
        assert one.key().private_numbers() == rsa_key(index=NEXT).private_numbers()
        assert one.credential().certificate == following()
        assert one.take_ticket(0) is None
        keys = one.sealing_keys()
        assert keys.seed != before.seed
        assert keys.data_key == before.data_key
    assert switching.successions(tmp_path / "p") == b"(32)"
    assert switching.waiting(tmp_path / "p") is None
    names = {one.name for one in (tmp_path / "p").iterdir()}
    expected = {"profile.json", KEY, SEALING, TICKETS, switching.SUCCESSIONS, "lock"}
    assert names == expected


def test_what_is_sent_once_has_the_same_name_under_every_key(tmp_path: pathlib.Path) -> None:
    from securerelay.client.peer import ProfileIdentity

    name = ProfileIdentity(enrol(tmp_path / "p")).once("order 7")
    for _ in range(2):
        after = prepare(tmp_path / "p").adopt(following(), now=NOW)
        assert ProfileIdentity(after).once("order 7") == name
    assert switching.successions(tmp_path / "p") == b"(32)(32)"


def test_it_is_under_the_passphrase_of_the_present_one(tmp_path: pathlib.Path) -> None:
    enrol(tmp_path / "p", passphrase=b"secret")
    prepare(tmp_path / "p", b"secret").adopt(following(), now=NOW)
    assert Profile.open(tmp_path / "p").protected()
    with pytest.raises(WrongPassphrase):
        opened(tmp_path / "p", b"other")
    assert opened(tmp_path / "p", b"secret").peer.spki == spki(index=NEXT)


def test_the_passphrase_stays_while_it_waits(tmp_path: pathlib.Path) -> None:
    made = enrol(tmp_path / "p")
    prepare(tmp_path / "p")
    with pytest.raises(ProfileError, match="a new key waits"):
        made.change_passphrase(None, b"secret")


def test_all_of_it_is_private(tmp_path: pathlib.Path) -> None:
    enrol(tmp_path / "p")
    prepare(tmp_path / "p")
    folder = tmp_path / "p" / switching.NEXT
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {one.stat().st_mode & 0o777 for one in folder.iterdir()} == {0o600}


@pytest.mark.parametrize("wrong", ["another key", "another name", "another relay"])
def test_a_certificate_that_is_not_for_it_changes_nothing(
    tmp_path: pathlib.Path, wrong: str
) -> None:
    enrol(tmp_path / "p")
    certificate = {
        "another key": present(),
        "another name": issue("bob", key=spki(index=NEXT)),
        "another relay": issue(key=spki(index=NEXT), relay=1),
    }[wrong]
    waiting = prepare(tmp_path / "p")
    with pytest.raises(CertificateError):
        waiting.adopt(certificate, now=NOW)
    assert opened(tmp_path / "p").credential().certificate == present()


def test_a_program_that_has_the_old_key_can_neither_come_back_nor_spoil_the_new_one(
    tmp_path: pathlib.Path,
) -> None:
    old = enrol(tmp_path / "p")
    prepare(tmp_path / "p").adopt(following(), now=NOW)
    with pytest.raises(ProfileError, match="start this program again"):
        old.save_certificate(present(), now=NOW)
    old.reload()
    with pytest.raises(ProfileError, match="start this program again"):
        old.credential()
    assert opened(tmp_path / "p").credential().certificate == following()


class Stop(BaseException):
    """The machine stops."""


class Disk:
    """Stops at the so-manieth change of the disk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, last: int) -> None:
        self.left = last
        for place, name in (
            *((files, name) for name in ("write_private", "make_private_folder", "sync_folder")),
            *((os, name) for name in ("rename", "replace", "rmdir", "unlink")),
            *((pathlib.Path, name) for name in ("unlink", "rmdir")),
        ):
            monkeypatch.setattr(place, name, self.counted(getattr(place, name)))

    def counted(self, change: Callable[..., object]) -> Callable[..., object]:
        def counting(*args: object, **more: object) -> object:
            if self.left <= 0:
                raise Stop
            self.left -= 1
            return change(*args, **more)

        return counting


def stops() -> Iterator[int]:
    """Yield every number of changes, until :func:`rotate` gets through."""
    yield from range(200)
    raise AssertionError("it never ends")


def rotate(path: pathlib.Path, told: list[bytes]) -> None:
    waiting = prepare(path)
    told.append(waiting.spki)  # from here on the relay knows the key
    waiting.adopt(following(), now=NOW)


def test_wherever_the_machine_stops_it_can_be_used_and_gone_on_with(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(tmp_path / "0").sealing_keys()
    seen: set[bytes] = set()
    for count in stops():
        path = tmp_path / "p"
        shutil.copytree(tmp_path / "0", path)
        told: list[bytes] = []
        with monkeypatch.context() as patch:
            Disk(patch, count)
            try:
                rotate(path, told)
            except Stop:
                done = False
            else:
                done = True
        one = opened(path)
        assert one.credential().certificate in (present(), following())
        assert primitives.spki(one.key().public_key()) == one.peer.spki
        one.sealing_keys()
        seen.add(one.peer.spki)
        if told and one.peer.spki == spki():
            assert switching.waiting(path) == spki(index=NEXT)  # what the relay knows is not lost
        if one.peer.spki == spki():
            rotate(path, told)
            one = opened(path)
        assert one.peer.spki == spki(index=NEXT)
        assert one.sealing_keys().once
        assert switching.successions(path) == b"(32)"
        shutil.rmtree(path)
        if done:
            break
    assert seen == {spki(), spki(index=NEXT)}


def test_putting_files_in_place_goes_on_where_it_stopped(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(tmp_path / "p").sealing_keys()
    waiting = prepare(tmp_path / "p")
    with monkeypatch.context() as patch:
        patch.setattr(switching, "settle", lambda path: None)
        waiting.adopt(following(), now=NOW)
    assert (tmp_path / "p" / switching.SWITCH).exists()
    for count in stops():
        with monkeypatch.context() as patch:
            Disk(patch, count // 2)
            try:
                Profile.open(tmp_path / "p")
            except Stop:
                continue
        break
    assert opened(tmp_path / "p").credential().certificate == following()


def test_a_disk_that_refuses_is_told(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(tmp_path / "p")
    waiting = prepare(tmp_path / "p")
    full = OSError(28, "No space left on device")

    def refuse(*args: object) -> None:
        raise full

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(LocalError, match="No space left"):
        waiting.adopt(following(), now=NOW)
    assert opened(tmp_path / "p").credential().certificate == present()
