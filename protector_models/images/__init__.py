"""Images: fetched from where that is allowed, decoded within limits, and read."""
