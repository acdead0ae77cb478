"""Tests of the policy and its rules."""
