"""Tests of multimodal LLMs, here and behind an endpoint."""
