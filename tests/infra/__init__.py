"""Tests of the configuration in infra/."""
