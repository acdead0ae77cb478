"""Tests of the evaluation of detectors."""
