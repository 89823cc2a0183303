"""Every fact that must outlive a connection: who is who, what was sent to whom, who is where.

:mod:`~securerelay.store.interface` says what a relay may ask, :mod:`~securerelay.store.sqlite`
keeps it in one folder on this machine, and :mod:`~securerelay.store.memory` keeps it until the
process ends.
"""
