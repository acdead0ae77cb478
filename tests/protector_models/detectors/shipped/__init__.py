"""Tests of the detector that ships."""
