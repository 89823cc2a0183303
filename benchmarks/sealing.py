"""What sealing end to end costs those who send and receive: ``python -m benchmarks sealing``.

First single steps in this process, then whole clients of a real relay, with their state on disk:
what a sealed message costs both ends together, beside one that is sent as it is. The relay's cost
does not depend on it, since it does not open anything.
"""

from __future__ import annotations

import datetime
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react

from benchmarks.daemon import Daemon
from benchmarks.figure import Figure
from benchmarks.micro import measured
from securerelay.client import Client, connect, enrol
from securerelay.crypto import hpke, primitives
from securerelay.identity.authority import Authority
from securerelay.identity.keyfile import generate_key
from securerelay.sealing import envelope, roomlist, roommessage
from securerelay.sealing.envelope import Delivery
from securerelay.sealing.fingerprint import Author, Identity
from securerelay.sealing.plaintext import Content
from securerelay.sealing.prekeys import Prekey
from securerelay.sealing.roomkey import RoomKey

BODY = bytes(128)
STREAM = bytes(16)
DIRECT = 400
"""Goal for sealing, and for opening, in microseconds of CPU."""
ROOM = 300
PLAIN_WITH = {"alice": ["carol"], "bob": [], "carol": ["alice"]}
"""Who is there, and with whom each exchanges messages as they are."""
MESSAGES = 2000
ROUNDS = 5


def sealing(quick: bool) -> Iterator[Figure]:
    """Messages that only their recipients read."""
    yield from _steps(20 if quick else 200)
    with tempfile.TemporaryDirectory(prefix="securerelay-benchmark-") as folder, Daemon() as daemon:
        count = MESSAGES // 10 if quick else MESSAGES
        words = [sys.executable, "-m", "benchmarks.sealing", folder, str(count)]
        uris = [daemon.admin("invite", name=name)["uri"] for name in PLAIN_WITH]
        ran = subprocess.run(
            words, input="\n".join(uris), stdout=subprocess.PIPE, text=True, check=True
        )
    plain, direct = map(float, ran.stdout.split())
    yield Figure("plain message, both ends", plain, "us")
    yield Figure("sealed message, both ends", direct, "us")
    yield Figure("sealing adds, both ends", direct - plain, "us", 2 * DIRECT)


def _steps(times: int) -> Iterator[Figure]:
    authority = Authority.create(datetime.datetime.now(datetime.timezone.utc))

    def person(name: str) -> Author:
        seed = primitives.random_bytes(32)
        spki = primitives.spki(generate_key(2048).public_key())
        public = primitives.ed25519_public(seed)
        return Author(Identity(authority.relay_id, name, spki, public), seed)

    alice, bob = person("alice"), person("bob")
    found, prekey = {alice.identity.sender_id: alice.identity}, Prekey.generate()
    public = hpke.load_public(prekey.public)
    now = int(time.time() * 1000)

    direct = Content(STREAM, 1, "bob", 1, now, now, "text/plain", BODY)

    def seal() -> bytes:
        return envelope.seal(direct, alice, bob.identity.fp, prekey.id, public)

    def unseal() -> None:
        said = Delivery("alice", "bob", STREAM, 1)
        envelope.unseal(sealed, said, bob.identity, found.get, {prekey.id: prekey.key}.get)

    sealed = seal()
    yield measured("seal a message of 128 B", seal, times, DIRECT)()
    yield measured("open a message of 128 B", unseal, times, DIRECT)()

    room_id = bytes(16)
    raw = roomlist.build(
        alice,
        name="@team",
        room_id=room_id,
        version=1,
        time=now,
        owner=alice.identity.fp,
        grant=roomlist.build_grant(alice, room_id, 1, []),
        members={one.identity.name: one.identity.fp for one in (alice, bob)},
    )
    key = RoomKey.make(alice.identity.fp, roomlist.parse(raw, "@team"), primitives.random_bytes(32))
    said_in_room = Content(STREAM, 1, "@team", 1, now, now, "text/plain", BODY)

    def seal_for_room() -> bytes:
        salt = primitives.random_bytes(roommessage.SALT_SIZE)
        return roommessage.seal(said_in_room, alice, key, salt)

    def unseal_in_room() -> None:
        said = Delivery("alice", "@team", STREAM, 1)
        roommessage.unseal(sealed_for_room, said, found.get, {key.id: key}.get)

    sealed_for_room = seal_for_room()
    yield measured("seal a room's message", seal_for_room, times, ROOM)()
    yield measured("open a room's message", unseal_in_room, times, ROOM)()


# --- whole clients, in a process of their own ---


async def _clients(reactor: Any, folder: Path, uris: list[str], count: int) -> None:
    people = {}
    for (name, plain), uri in zip(PLAIN_WITH.items(), uris, strict=True):
        profile = await enrol(uri, folder / name, reactor=reactor)
        people[name] = await connect(profile, plain=plain)
    spent: dict[str, list[float]] = {"carol": [], "bob": []}
    for to in spent:
        await _exchange(people["alice"], to, people[to], 20)  # makes their contact
    for _ in range(ROUNDS):
        for to, samples in spent.items():
            begun = time.process_time()
            await _exchange(people["alice"], to, people[to], count // ROUNDS)
            samples.append((time.process_time() - begun) / (count // ROUNDS) * 1e6)
    print(*(statistics.median(samples) for samples in spent.values()))
    for client in people.values():
        await client.close()


async def _exchange(sender: Client, to: str, recipient: Client, count: int) -> None:
    sent = gatherResults([sender.send(to, BODY) for _ in range(count)])
    left = count
    async for message in recipient.listen():
        await message.ack()
        left -= 1
        if not left:
            break
    await sent


def main() -> None:
    """Measure whole clients, with invitations given on standard input."""
    folder, count, uris = Path(sys.argv[1]), int(sys.argv[2]), sys.stdin.read().split()
    react(lambda reactor: Deferred.fromCoroutine(_clients(reactor, folder, uris, count)))


if __name__ == "__main__":
    main()
