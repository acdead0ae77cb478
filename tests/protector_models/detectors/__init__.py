"""Tests of detectors: which one a configuration means, and cascades."""
