"""Tests of the paper's experiment."""
