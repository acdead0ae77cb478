"""Tests of stores: the verdict cache in Redis."""
