"""Policies: the default one, and reading and checking the file of another."""
