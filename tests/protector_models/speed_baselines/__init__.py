"""Tests of what speed is compared with."""
