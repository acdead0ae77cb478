"""The streaming application on Ray Serve: consumers, and beside them the models they call."""
