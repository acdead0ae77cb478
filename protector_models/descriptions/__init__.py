"""Checkpoints that others trained, described as data: how each is asked, and what its output means."""
