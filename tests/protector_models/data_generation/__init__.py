"""Tests of training data that a language model writes."""
