"""The tests of SecureRelay; the folders mirror the package."""
