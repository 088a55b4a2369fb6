"""Measurements against peers, run from a checkout: ``python -m benchmarks.NAME``."""
