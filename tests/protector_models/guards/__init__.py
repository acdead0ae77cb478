"""Tests of generative guards as detectors."""
