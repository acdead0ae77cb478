"""Tests of policy files: reading them, and telling what is wrong with them."""
