"""Tests of how models run: threads, deadlines, sessions."""
