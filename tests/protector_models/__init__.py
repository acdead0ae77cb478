"""Tests of the models and the moderation core."""
