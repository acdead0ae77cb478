"""Tests of `protector_models.data_generation`."""
