"""Tests of `protector_models.training.judges`."""
