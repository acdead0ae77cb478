"""The recipes of the edit model and of the generative detoxifier."""
