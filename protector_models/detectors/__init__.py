"""Harm detectors: the choice among them, and two in a row."""
