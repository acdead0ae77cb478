"""Tests. They mirror the tree of packages."""
