"""Tests of `protector_models.evaluation.protector`."""
