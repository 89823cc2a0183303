"""The SR1 protocol as pure functions of bytes: no sockets, no files, no clock, no Twisted."""
