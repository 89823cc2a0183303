"""Who is who: certificates, their authority, invitations, key files, and the folders with them.

Nothing here speaks to a network.  Names are ``str``, keys and certificates DER ``bytes``, and every
certificate that comes from elsewhere goes through :mod:`securerelay.identity.certificates`.
"""
