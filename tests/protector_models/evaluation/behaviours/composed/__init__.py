"""Tests of the composition of behaviour rows."""
