"""Hostile and independent partners that talk to SecureRelay."""
