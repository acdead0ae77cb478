"""Tests of the streaming pipeline."""
