"""Training recipes: labelled records in, checkpoints that the service can load out."""
