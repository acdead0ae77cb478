"""Measuring the models on labelled records: metrics with intervals, trivial rows to beat, the harness."""
