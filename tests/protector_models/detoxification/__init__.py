"""Tests of detoxifiers: the edit model, and language models here and behind an endpoint."""
