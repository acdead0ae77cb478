"""Ray Serve deployments and the Redis verdict cache."""
