"""Tests of loading and running what transformers gives."""
