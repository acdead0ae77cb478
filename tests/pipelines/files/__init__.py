"""Tests of files that are read and written: JSONL, packed files, results that a later run goes on with."""
