"""Tests of how a Moderator is put together, and of deployments, stores, counters and scaling."""
