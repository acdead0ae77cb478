"""Tests of images: fetching, decoding, reading, comparing."""
