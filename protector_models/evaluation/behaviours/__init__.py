"""Functional tests of a guard on answers: rows that want a verdict, by kind, and how many get it."""
