"""Benchmarks: never part of the tests; each prints one JSON line."""
