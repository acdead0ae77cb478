"""Tests of the evaluation of text that is read in pictures."""
