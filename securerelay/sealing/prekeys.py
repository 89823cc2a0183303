"""Prekeys: what messages are sealed to, made anew every hour and destroyed once nobody needs them.

That a prekey is gone is what makes the past unreadable to whoever steals a disk.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from securerelay.crypto import hpke, primitives

ID_SIZE = 8
EVERY = 3_600_000
"""Milliseconds after which a connected client makes a new one."""
SUPERSEDED_FOR = 2 * 3_600_000
"""Milliseconds that a superseded one is kept at least, for messages on their way."""
LONGEST = 16 * 86_400_000
"""Milliseconds after which a superseded one is destroyed, whatever waits."""
MOST = 512
"""Prekeys that a profile keeps."""


def prekey_id(public: bytes) -> bytes:
    """Return the id of a prekey (8 bytes) from its public key (1216 bytes)."""
    return primitives.sha256(public)[:ID_SIZE]


@dataclass(frozen=True, slots=True)
class Prekey:
    """A prekey of our own, loaded: loading takes longer than opening an envelope.

    Args:
        private: 96 bytes, ML-KEM seed and X25519 key.

    Attributes:
        public: 1216 bytes.
        id: 8 bytes.
        key: what opens envelopes.
    """

    private: bytes = field(repr=False)
    public: bytes = field(init=False, repr=False)
    id: bytes = field(init=False)
    key: hpke.PrivateKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        key, public = hpke.load_private(self.private)
        object.__setattr__(self, "public", public)
        object.__setattr__(self, "id", prekey_id(public))
        object.__setattr__(self, "key", key)

    @classmethod
    def generate(cls) -> Prekey:
        """Return a new prekey."""
        return cls(hpke.generate())


def may_be_destroyed(
    superseded: int | None, drained: int | None, named: bool, now: int, latest: int = LONGEST
) -> bool:
    """Tell whether a private key has served its time; prekeys and room keys alike.

    Args:
        superseded: when it was followed by a newer one, Unix ms; None if it was not.
        drained: when the last ``LISTEN`` was answered whose ``last`` is reached by now, Unix ms;
            None if there was none.
        named: whether a message that waits unopened names the key.
        now: Unix ms.
        latest: milliseconds after which nothing else counts.

    Returns:
        True if it was superseded for two hours, everything that had come by then was processed and
        nothing waits for it; or if it was superseded long ago.
    """
    if superseded is None:
        return False
    if now - superseded >= latest:
        return True
    ripe = superseded + SUPERSEDED_FOR
    return drained is not None and drained >= ripe and now >= ripe and not named
