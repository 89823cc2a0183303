"""Measurements of a real relay under a real load: ``python -m benchmarks``.

Nothing here is a test: figures depend on the machine, so quote medians and compare within one run.
"""
