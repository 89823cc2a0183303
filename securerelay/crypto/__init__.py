"""Cryptography: primitives, the labels that keep their uses apart, and the key-exchange groups."""
