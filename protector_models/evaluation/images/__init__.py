"""How well text in pictures is read, and what that finds."""
