"""Tests of securerelay.identity."""
