"""Tests of metrics, trivial rows and the evaluation harness."""
