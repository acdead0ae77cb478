"""The models as Ray Serve deployments: how they are bound, what runs in a replica, and the ports that call it."""
