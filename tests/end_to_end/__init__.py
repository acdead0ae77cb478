"""The whole application, as a user starts it."""
