"""Benchmarks of skvae; run ``python -m benchmarks.regression`` here."""
