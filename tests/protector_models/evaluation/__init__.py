"""Tests of evaluations: figures, intervals, reports."""
