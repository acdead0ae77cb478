"""Tests of streaming, files, commands, demonstration and benchmarks."""
