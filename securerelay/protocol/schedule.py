"""The key schedule: which secret comes from which (SR1 sections 3 and 4).

::

    PSK or zeros ─▶ ES ─▶ binder
                    │
              Z ─▶ HS ─▶ c_hs, s_hs          (the keys of the AUTH lines)
                    │
          zeros ─▶ MS ─▶ c_ap, s_ap          (the keys of the records)
                         exporter, rms (tickets), RS (the next REKEY), session id

Each function takes only what it may use and returns only what comes next; ES, HS and MS are never
kept.
"""

from __future__ import annotations

from dataclasses import dataclass

from securerelay.crypto import contexts, primitives
from securerelay.crypto.primitives import HASH_SIZE, expand_label, hkdf_extract

_ZEROS = bytes(HASH_SIZE)
_EMPTY_HASH = primitives.sha384()


@dataclass(frozen=True, slots=True, repr=False)
class HandshakeSecrets:
    """What protects the AUTH lines, and what the session's secrets come from."""

    client: bytes
    relay: bytes
    handshake: bytes


@dataclass(frozen=True, slots=True, repr=False)
class RekeyRoot:
    """What a session keeps for its next REKEY; no key in use can be derived from it."""

    exporter: bytes
    secret: bytes


@dataclass(frozen=True, slots=True, repr=False)
class SessionSecrets:
    """What a session starts on; of all this only the root outlives the start."""

    client: bytes
    relay: bytes
    resumption: bytes
    root: RekeyRoot


def early(psk: bytes | None) -> bytes:
    """Return ES from a ticket's PSK, or from zeros."""
    return hkdf_extract(_ZEROS, psk or _ZEROS)


def binder(psk: bytes, partial_hello: bytes) -> bytes:
    """Return the proof that a client has a ticket's PSK.

    Args:
        psk: the ticket's secret, 48 bytes.
        partial_hello: the transcript hash with item 12, 48 bytes.
    """
    key = expand_label(early(psk), contexts.RES_BINDER, _EMPTY_HASH, HASH_SIZE)
    return finished(key, partial_hello)


def handshake(early_secret: bytes, shared: bytes, transcript: bytes) -> HandshakeSecrets:
    """Return what protects the AUTH lines.

    Args:
        early_secret: ES.
        shared: Z of the key exchange.
        transcript: the hash up to the relay's HELLO.
    """
    derived = expand_label(early_secret, contexts.DERIVED, _EMPTY_HASH, HASH_SIZE)
    secret = hkdf_extract(derived, shared)
    return HandshakeSecrets(
        expand_label(secret, contexts.CLIENT_HANDSHAKE, transcript, HASH_SIZE),
        expand_label(secret, contexts.RELAY_HANDSHAKE, transcript, HASH_SIZE),
        secret,
    )


def session(handshake_secret: bytes, transcript: bytes) -> tuple[SessionSecrets, bytes]:
    """Return the session's secrets and its public id (16 bytes).

    Args:
        handshake_secret: HS.
        transcript: the hash up to the last item of the client's AUTH.
    """
    derived = expand_label(handshake_secret, contexts.DERIVED, _EMPTY_HASH, HASH_SIZE)
    master = hkdf_extract(derived, _ZEROS)
    session_id = expand_label(master, contexts.SESSION_ID, transcript, 16)
    return _from_master(master, transcript), session_id


def after_rekey(root: RekeyRoot, shared: bytes, transcript: bytes) -> SessionSecrets:
    """Return the secrets after a REKEY.

    Args:
        root: what the session kept.
        shared: Z of the fresh exchange.
        transcript: the hash over items 20, 21 and 22.
    """
    salt = expand_label(root.secret, contexts.REKEY, transcript, HASH_SIZE)
    return _from_master(hkdf_extract(salt, shared), transcript)


def _from_master(master: bytes, transcript: bytes) -> SessionSecrets:
    def derive(label: bytes) -> bytes:
        return expand_label(master, label, transcript, HASH_SIZE)

    return SessionSecrets(
        derive(contexts.CLIENT_TRAFFIC),
        derive(contexts.RELAY_TRAFFIC),
        derive(contexts.RESUMPTION),
        RekeyRoot(derive(contexts.EXPORTER), derive(contexts.REKEY_SECRET)),
    )


def ticket_psk(resumption: bytes, ticket_id: bytes) -> bytes:
    """Return the PSK (48 bytes) of a ticket with this id (16 bytes)."""
    return expand_label(resumption, contexts.TICKET_CLIENT, ticket_id, HASH_SIZE)


def finished(secret: bytes, transcript: bytes) -> bytes:
    """Return the MAC by which a side confirms that it has the keys: SFIN, CFIN or a binder."""
    key = expand_label(secret, contexts.FINISHED, b"", HASH_SIZE)
    return primitives.hmac384(key, transcript)


def next_traffic(secret: bytes) -> bytes:
    """Return the traffic secret after an UPDATE."""
    return expand_label(secret, contexts.TRAFFIC_UPDATE, b"", HASH_SIZE)


def key_and_iv(secret: bytes) -> tuple[bytes, bytes]:
    """Return the AEAD key (32 bytes) and the nonce base (12 bytes) of a traffic secret."""
    return (
        expand_label(secret, contexts.KEY, b"", primitives.KEY_SIZE),
        expand_label(secret, contexts.IV, b"", primitives.NONCE_SIZE),
    )
