"""Tests of the judges' training."""
