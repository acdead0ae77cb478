"""Harm detectors: the shipped one, classifiers, cascades, and what all kinds share."""
