"""Sealing in the client: keys of our own and of others, what waits for them, what came under them.

Formats and checks are :mod:`securerelay.sealing`'s; this keeps their state, and joins them to the
relay, the outbox and the inbox.
"""
