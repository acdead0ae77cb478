"""Tests of the broker in memory."""
