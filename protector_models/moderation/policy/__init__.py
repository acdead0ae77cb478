"""A policy: versioned data that turns an assessment into an action."""
