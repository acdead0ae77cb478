"""Tests of the detoxifier's training."""
