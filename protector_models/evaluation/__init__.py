"""Measuring the models on labelled records: metrics with intervals, and one room for each thing that is measured."""
