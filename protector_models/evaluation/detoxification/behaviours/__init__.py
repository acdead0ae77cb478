"""Behaviours of the detoxifier, each with a small set of rows written for this project and one or a few figures."""
