"""Tests of how many replicas there are."""
