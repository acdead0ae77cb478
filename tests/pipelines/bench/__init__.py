"""Tests of what benchmarks report."""
