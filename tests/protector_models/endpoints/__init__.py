"""Tests of chat endpoints over HTTP."""
