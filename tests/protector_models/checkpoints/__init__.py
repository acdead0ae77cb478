"""Tests of checkpoints as files: cards, hashes, and the names of what they put out."""
