"""Tests of the moderation core."""
