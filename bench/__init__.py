"""Benchmarks: each beside its alternative, in one run, as a ratio with median and p99. A benchmark never asserts."""
