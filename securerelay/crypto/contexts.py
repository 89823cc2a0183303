"""Every label, context and domain separator of the protocol, in one place.

What is signed or derived for one purpose can then never be taken for another: a test asserts that
no signing context is a prefix of another one.  SR1 sections 3, 4 and 6, and SR1 sealing.
"""

from __future__ import annotations

# Signing contexts (64 spaces go before them, one zero byte after; see primitives.signed_content).
RELAY_VERIFY = b"securerelay/1 relay certificate verify"
PEER_VERIFY = b"securerelay/1 peer certificate verify"
RELAY_REKEY = b"securerelay/1 relay rekey"
PEER_REKEY = b"securerelay/1 peer rekey"
ENROL_POSSESSION = b"securerelay/1 enrol possession"
ENROL_INVITATION = b"securerelay/1 enrol invitation"
RENEW_POSSESSION = b"securerelay/1 renew possession"

# Signing contexts end to end (SR1 sealing); what is signed are items.
E2E_BUNDLE = b"securerelay/1 e2e bundle"
E2E_SUCCESSION = b"securerelay/1 e2e succession"
E2E_MESSAGE = b"securerelay/1 e2e message"
E2E_ROOM_MESSAGE = b"securerelay/1 e2e room message"
E2E_LIST = b"securerelay/1 e2e list"
E2E_GRANT = b"securerelay/1 e2e grant"
E2E_LOG_HEAD = b"securerelay/1 e2e log head"

SIGNING = (
    RELAY_VERIFY,
    PEER_VERIFY,
    RELAY_REKEY,
    PEER_REKEY,
    ENROL_POSSESSION,
    ENROL_INVITATION,
    RENEW_POSSESSION,
    E2E_BUNDLE,
    E2E_SUCCESSION,
    E2E_MESSAGE,
    E2E_ROOM_MESSAGE,
    E2E_LIST,
    E2E_GRANT,
    E2E_LOG_HEAD,
)

# Hashes and MACs.
TRANSCRIPT = b"securerelay/1 transcript"
KNOCK = b"securerelay/1 knock"
INVITATION_CHECKSUM = b"securerelay/1 invitation checksum"
INVITATION_SEED = b"securerelay/1 invite"
OAEP_LABEL = b"sr1 rsa-oaep kex"
E2E_FINGERPRINT = b"securerelay/1 e2e fingerprint"
E2E_SAFETY_NUMBER = b"securerelay/1 e2e safety number"
E2E_ROOM_KEY_ID = b"securerelay/1 e2e room key id"

# What sealed bodies are bound to: the head of HPKE's info and of the room's.
E2E_SEAL = b"securerelay/1 e2e seal"
E2E_ROOM = b"securerelay/1 e2e room"

# Labels of the key schedule (each is prefixed with LABEL_PREFIX inside primitives.expand_label).
LABEL_PREFIX = b"sr1 "
RES_BINDER = b"res binder"
DERIVED = b"derived"
CLIENT_HANDSHAKE = b"c hs"
RELAY_HANDSHAKE = b"s hs"
CLIENT_TRAFFIC = b"c ap"
RELAY_TRAFFIC = b"s ap"
EXPORTER = b"exporter"
RESUMPTION = b"resumption"
REKEY_SECRET = b"rekey secret"
REKEY = b"rekey"
SESSION_ID = b"session id"
KEY = b"key"
IV = b"iv"
FINISHED = b"finished"
TRAFFIC_UPDATE = b"traffic upd"
TICKET_CLIENT = b"ticket client"

# Associated data of the two AUTH lines.
RELAY_AUTH = b"sr1 s-auth"
CLIENT_AUTH = b"sr1 c-auth"

# Secrets at rest in a client's profile.
PROFILE_TICKETS = b"securerelay/1 profile tickets"
PROFILE_ONCE = b"securerelay/1 profile send once"
PROFILE_SEALING = b"securerelay/1 profile sealing keys"
