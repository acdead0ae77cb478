"""Tests of messages as SDKs write them."""
