"""Benchmarks: each compares Weir with something else in the same run, on the same machine."""
