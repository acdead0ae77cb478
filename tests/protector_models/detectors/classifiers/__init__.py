"""Tests of classifiers of transformers as detectors."""
