"""Tests of labelled records."""
