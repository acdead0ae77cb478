"""Tests of what a text says: scripts, disguises, languages, windows."""
