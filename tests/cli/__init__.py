"""Tests of the command ``securerelay``, without a relay."""
