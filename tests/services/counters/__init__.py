"""Tests of counters as they are exported."""
