"""The options of a deployment that say how many replicas it has: so many, by its calls, or by records in Kafka."""

from services.settings import DeploymentSettings, StreamDeploymentSettings


def scaling_options(settings: DeploymentSettings) -> dict[str, object]:
    """Return the options of a Serve deployment that say how many replicas it has."""
    if settings.min_replicas == settings.max_replicas:
        return {"num_replicas": settings.min_replicas}
    scaling: dict[str, object] = {
        "min_replicas": settings.min_replicas,
        "max_replicas": settings.max_replicas,
        "upscale_delay_s": settings.upscale_delay_s,
        "downscale_delay_s": settings.downscale_delay_s,
        # More than the 10 s between two reports of a replica.
        "look_back_period_s": max(15.0, settings.upscale_delay_s),
        "target_ongoing_requests": settings.target_ongoing_requests or float(settings.concurrency),
    }
    if isinstance(settings, StreamDeploymentSettings):
        scaling["policy"] = {
            "policy_function": "services.scaling.lag_policy:LagPolicy",
            "policy_kwargs": {"target_lag_records": settings.target_lag_records},
        }
    return {"autoscaling_config": scaling}
