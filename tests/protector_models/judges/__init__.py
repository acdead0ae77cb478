"""Tests of the judges of texts."""
