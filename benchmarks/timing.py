"""Does the time that a refusal takes tell where the secret was wrong?

For each check two kinds of wrong input alternate at random, which differ in where they are wrong
alone; Welch's t-test compares their times (Reparaz, Balasch and Verbauwhede, "Dude, is my code
constant time?", 2017).  Beyond 4.5 either way there is a difference; what remains below it
was not seen with so many measurements, which is no proof that there is none.

Classes of refusal that differ in what is checked at all (an AUTH line that does not open, a
certificate of another authority, a wrong signature) differ in time too: that is known to whoever
sent them.
"""

from __future__ import annotations

import gc
import itertools
import math
import random
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

from benchmarks.figure import Figure
from securerelay.crypto import contexts, primitives
from securerelay.crypto.groups import Rsa3072Oaep, RsaOaepOffer
from securerelay.errors import RemoteError
from securerelay.identity.keyfile import generate_key
from securerelay.protocol import hello, lines, schedule
from securerelay.protocol.transcript import Transcript

GOAL = 4.5
CROPPED = 0.9
"""The part of the measurements that counts, the fastest; the rest was interrupted by others."""

MANY = 64
"""Inputs of a kind, so that the means are not those of single ones."""

Act = Callable[[], object]


def flipped(value: bytes, at: int) -> bytes:
    """Return the value with one bit changed in the byte at a position."""
    changed = bytearray(value)
    changed[at] ^= 1
    return bytes(changed)


def refused(act: Callable[..., object], *arguments: object) -> Act:
    """Return what calls with these arguments and expects an error or a false answer."""

    def attempt() -> None:
        with suppress(RemoteError):
            act(*arguments)

    return attempt


def compare(one: Act, other: Act, count: int) -> float:
    """Return Welch's t of the times that two acts take.

    Args:
        one: the first.
        other: the second.
        count: how often each is measured.
    """
    acts, times = (one, other), ([], [])  # type: tuple[Act, Act], tuple[list[int], list[int]]
    order = [0, 1] * count
    random.shuffle(order)
    for act in acts * 20:
        act()
    gc.disable()
    for which in order:
        act = acts[which]
        begun = time.perf_counter_ns()
        act()
        times[which].append(time.perf_counter_ns() - begun)
    gc.enable()
    kept = [sorted(taken)[: int(len(taken) * CROPPED)] for taken in times]
    means = [statistics.fmean(taken) for taken in kept]
    spread = sum(statistics.variance(taken) / len(taken) for taken in kept)
    return (means[0] - means[1]) / math.sqrt(spread)


def _pairs(folder: sqlite3.Connection) -> Iterator[tuple[str, Act, Act, int]]:
    """Yield each check with two kinds of wrong input, and how costly it is."""
    secret = primitives.random_bytes(48)

    front = b"SR1 HELLO suites=aes256gcm groups=x25519 nonce=" + b"A" * 43
    key = hello.knock_key(bytes(32))
    knock, memory = hello.knock(key, front), hello.KnockMemory()

    def knocking(value: bytes) -> Act:
        line = front + b" to=" + lines.encode(value).encode()
        return refused(hello.read_client_hello, line, key, memory, 0.0)

    yield "knock, first or last byte", knocking(flipped(knock, 0)), knocking(flipped(knock, -1)), 1

    finished = schedule.finished(secret, bytes(48))

    def finishing(value: bytes) -> Act:
        return lambda: primitives.equal(schedule.finished(secret, bytes(48)), value)

    yield (
        "CFIN, first or last byte",
        finishing(flipped(finished, 0)),
        finishing(flipped(finished, -1)),
        1,
    )

    transcript = Transcript()
    binder = schedule.binder(secret, transcript.digest())

    def binding(value: bytes) -> Act:
        return lambda: primitives.equal(schedule.binder(secret, transcript.digest()), value)

    yield "binder, first or last byte", binding(flipped(binder, 0)), binding(flipped(binder, -1)), 1

    plain, aad = bytes(3072), contexts.CLIENT_AUTH
    for suite in primitives.SUITES:
        cipher = primitives.aead(suite, bytes(32))
        sealed = primitives.seal(cipher, bytes(12), plain, aad)

        def opening(at: int, cipher: primitives.Aead = cipher, sealed: bytes = sealed) -> Act:
            # Many copies, so that it does not count where in memory one of them lies.
            copies = itertools.cycle([flipped(sealed, at) for _ in range(MANY)])
            return lambda: primitives.unseal(cipher, bytes(12), next(copies), aad)

        yield f"AUTH under {suite}, first or last byte", opening(0), opening(-1), 1

    # What RSA takes for one number it takes again and again, so there are many of each kind.
    rsa = generate_key(2048)

    def verifying(at: int) -> Act:
        signed = [primitives.sign_pss(rsa, contexts.PEER_VERIFY, bytes(48)) for _ in range(MANY)]
        wrong, key = itertools.cycle([flipped(one, at) for one in signed]), rsa.public_key()
        return lambda: primitives.verify_pss(key, contexts.PEER_VERIFY, bytes(48), next(wrong))

    yield "CSIG, second or last byte", verifying(1), verifying(-1), 10

    offer = RsaOaepOffer(generate_key(3072))
    public = primitives.load_rsa_spki(offer.share)
    assert public is not None
    short = [public.encrypt(bytes(47), Rsa3072Oaep.PADDING) for _ in range(MANY)]
    noise = [flipped(public.encrypt(bytes(48), Rsa3072Oaep.PADDING), -1) for _ in range(MANY)]

    def completing(wrong: list[bytes]) -> Act:
        turn = itertools.cycle(wrong)
        return refused(lambda: offer.complete(next(turn)))

    yield "OAEP, wrong length inside or noise", completing(short), completing(noise), 50

    tokens = [primitives.random_bytes(6) for _ in range(5000)]
    folder.execute("CREATE TABLE invitation (token BLOB PRIMARY KEY, name TEXT) WITHOUT ROWID")
    folder.executemany("INSERT OR IGNORE INTO invitation VALUES (?, 'x')", [(t,) for t in tokens])

    def looking(wanted: list[bytes]) -> Act:
        query, turn = "SELECT name FROM invitation WHERE token = ?", itertools.cycle(wanted)
        return lambda: folder.execute(query, (next(turn),)).fetchone()

    near = [token[:5] + bytes([token[5] ^ 1]) for token in tokens[:1000]]
    far = [primitives.random_bytes(6) for _ in range(1000)]
    yield "token, five bytes right or none", looking(near), looking(far), 1


def timing(quick: bool) -> Iterator[Figure]:
    """Compare the times of refusals that should not differ."""
    count = 2_000 if quick else 20_000
    with closing(sqlite3.connect(":memory:")) as folder:
        for name, one, other, cost in _pairs(folder):
            value = compare(one, other, max(200, count // cost))
            yield Figure(f"{name}", abs(value), "Welch's t", GOAL)
