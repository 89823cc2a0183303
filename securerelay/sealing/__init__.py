"""Sealing end to end, as pure functions: time and randomness come in, bytes and verdicts go out.

The relay carries what is sealed here and cannot read it.  :mod:`.envelope` seals for one peer,
:mod:`.roommessage` for a room; :mod:`.bundle` and :mod:`.pins` decide with which keys, and
:mod:`.verdicts` has every reason not to, in the words that people see.
"""
