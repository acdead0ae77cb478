"""Conversations in files: lines in, lines out, and where a run can go on."""
