"""How good a harm detector is, beside trivial and published rows."""
