"""Tests of the deployments on Ray Serve, and of calls to them."""
