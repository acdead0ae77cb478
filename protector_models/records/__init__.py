"""Labelled records: the sets, the mix that is trained on, and what must not be in it."""
