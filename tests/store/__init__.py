"""Every store does the same; the one on disk also survives."""
