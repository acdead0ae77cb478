"""Checkpoints as files: where they lie, their cards and hashes, and the name@revision of what they put out."""
