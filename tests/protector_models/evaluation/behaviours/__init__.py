"""Tests of the behaviour tests."""
