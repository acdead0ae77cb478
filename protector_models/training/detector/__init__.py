"""The recipes of the harm detector, from labelled records to a checkpoint with its card."""
