"""Tests of the deployments, the verdict cache and the metrics."""
