"""Tests of descriptions of other people's checkpoints."""
