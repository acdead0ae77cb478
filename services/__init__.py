"""What HTTP, stream and backfill share above the core: the Moderator put together, deployments, stores, scaling."""
