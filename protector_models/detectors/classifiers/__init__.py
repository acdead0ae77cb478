"""Sequence classifiers of transformers as harm detectors."""
