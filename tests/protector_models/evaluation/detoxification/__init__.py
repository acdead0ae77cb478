"""Tests of `protector_models.evaluation.detoxification`."""
