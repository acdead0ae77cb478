"""Tests of the evaluation of detoxifiers."""
