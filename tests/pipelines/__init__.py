"""Tests of streaming, backfill and the commands."""
