"""ML-KEM-768 written from FIPS 203, to check the library's against; slow and not constant-time."""

from __future__ import annotations

import hashlib

Q, N, K, DU, DV, ETA = 3329, 256, 3, 10, 4, 2

Poly = list[int]


def _reversed(number: int) -> int:
    return int(f"{number:07b}"[::-1], 2)


ZETAS = [pow(17, _reversed(i), Q) for i in range(128)]
GAMMAS = [pow(17, 2 * _reversed(i) + 1, Q) for i in range(128)]


def _ntt(poly: Poly) -> Poly:
    """Algorithm 9."""
    f, i, size = list(poly), 1, 128
    while size >= 2:
        for start in range(0, N, 2 * size):
            zeta, i = ZETAS[i], i + 1
            for j in range(start, start + size):
                t = zeta * f[j + size] % Q
                f[j + size], f[j] = (f[j] - t) % Q, (f[j] + t) % Q
        size //= 2
    return f


def _ntt_inverse(poly: Poly) -> Poly:
    """Algorithm 10."""
    f, i, size = list(poly), 127, 2
    while size <= 128:
        for start in range(0, N, 2 * size):
            zeta, i = ZETAS[i], i - 1
            for j in range(start, start + size):
                t = f[j]
                f[j], f[j + size] = (t + f[j + size]) % Q, zeta * (f[j + size] - t) % Q
        size *= 2
    return [x * 3303 % Q for x in f]


def _times(f: Poly, g: Poly) -> Poly:
    """Algorithms 11 and 12."""
    h = []
    for i, gamma in enumerate(GAMMAS):
        a, b, c, d = f[2 * i], f[2 * i + 1], g[2 * i], g[2 * i + 1]
        h += [(a * c + b * d * gamma) % Q, (a * d + b * c) % Q]
    return h


def _plus(f: Poly, g: Poly) -> Poly:
    return [(x + y) % Q for x, y in zip(f, g, strict=True)]


def _dot(f: list[Poly], g: list[Poly]) -> Poly:
    total = [0] * N
    for x, y in zip(f, g, strict=True):
        total = _plus(total, _times(x, y))
    return total


def _encode(poly: Poly, bits: int) -> bytes:
    number = sum(x << bits * i for i, x in enumerate(poly))
    return number.to_bytes(32 * bits, "little")


def _decode(data: bytes, bits: int) -> Poly:
    number = int.from_bytes(data, "little")
    return [number >> bits * i & (1 << bits) - 1 for i in range(N)]


def _compress(poly: Poly, bits: int) -> Poly:
    return [((x << bits) * 2 + Q) // (2 * Q) % (1 << bits) for x in poly]


def _decompress(poly: Poly, bits: int) -> Poly:
    return [(x * Q * 2 + (1 << bits)) >> bits + 1 for x in poly]


def _sample(seed: bytes, j: int, i: int) -> Poly:
    """Algorithm 7, SampleNTT."""
    stream = hashlib.shake_128(seed + bytes([j, i])).digest(2000)
    found: Poly = []
    for at in range(0, len(stream), 3):
        a, b, c = stream[at : at + 3] if at + 3 <= len(stream) else (255, 255, 255)
        found += [d for d in (a + 256 * (b % 16), b // 16 + 16 * c) if d < Q]
    return found[:N]


def _noise(seed: bytes, n: int) -> Poly:
    """Algorithm 8, SamplePolyCBD, with eta = 2."""
    stream = hashlib.shake_256(seed + bytes([n])).digest(64 * ETA)
    bits = _decode_bits(stream)
    return [
        (bits[4 * i] + bits[4 * i + 1] - bits[4 * i + 2] - bits[4 * i + 3]) % Q for i in range(N)
    ]


def _decode_bits(data: bytes) -> list[int]:
    return [byte >> i & 1 for byte in data for i in range(8)]


def _g(data: bytes) -> tuple[bytes, bytes]:
    digest = hashlib.sha3_512(data).digest()
    return digest[:32], digest[32:]


def _matrix(rho: bytes) -> list[list[Poly]]:
    return [[_sample(rho, j, i) for j in range(K)] for i in range(K)]


def key_pair(d: bytes, z: bytes) -> tuple[bytes, bytes]:
    """Algorithm 16: encapsulation key and decapsulation key from two seeds of 32 bytes."""
    rho, sigma = _g(d + bytes([K]))
    matrix = _matrix(rho)
    s = [_ntt(_noise(sigma, n)) for n in range(K)]
    e = [_ntt(_noise(sigma, K + n)) for n in range(K)]
    t = [_plus(_dot(matrix[i], s), e[i]) for i in range(K)]
    ek = b"".join(_encode(poly, 12) for poly in t) + rho
    own = b"".join(_encode(poly, 12) for poly in s)
    return ek, own + ek + hashlib.sha3_256(ek).digest() + z


def _encrypt(ek: bytes, message: bytes, seed: bytes) -> bytes:
    """Algorithm 14."""
    t = [_decode(ek[384 * i : 384 * i + 384], 12) for i in range(K)]
    matrix = _matrix(ek[-32:])
    y = [_ntt(_noise(seed, n)) for n in range(K)]
    u = [
        _plus(_ntt_inverse(_dot([matrix[j][i] for j in range(K)], y)), _noise(seed, K + i))
        for i in range(K)
    ]
    v = _plus(_ntt_inverse(_dot(t, y)), _noise(seed, 2 * K))
    v = _plus(v, _decompress(_decode(message, 1), 1))
    first = b"".join(_encode(_compress(poly, DU), DU) for poly in u)
    return first + _encode(_compress(v, DV), DV)


def encapsulate(ek: bytes, message: bytes) -> tuple[bytes, bytes]:
    """Algorithm 17: shared secret and ciphertext for 32 bytes of randomness."""
    secret, seed = _g(message + hashlib.sha3_256(ek).digest())
    return secret, _encrypt(ek, message, seed)


def decapsulate(dk: bytes, ciphertext: bytes) -> bytes:
    """Algorithm 18, implicit rejection and all."""
    own, ek, digest, z = dk[:1152], dk[1152:2336], dk[2336:2368], dk[2368:]
    size = 32 * DU
    u = [_decompress(_decode(ciphertext[size * i : size * i + size], DU), DU) for i in range(K)]
    v = _decompress(_decode(ciphertext[size * K :], DV), DV)
    s = [_decode(own[384 * i : 384 * i + 384], 12) for i in range(K)]
    w = _plus(v, [-x for x in _ntt_inverse(_dot(s, [_ntt(poly) for poly in u]))])
    message = _encode(_compress(w, 1), 1)
    secret, seed = _g(message + digest)
    if _encrypt(ek, message, seed) != ciphertext:
        return hashlib.shake_256(z + ciphertext).digest(32)
    return secret
