"""How many replicas a deployment has."""
