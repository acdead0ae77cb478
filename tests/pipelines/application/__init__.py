"""Tests of the stream consumers and their deployment."""
