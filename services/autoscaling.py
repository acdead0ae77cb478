"""How many replicas a deployment has: fixed, by the calls that wait for it, or by the records that wait in Kafka."""

import math
from typing import Any

from ray.serve.config import AutoscalingContext

from services.settings import DeploymentSettings, StreamDeploymentSettings

LAG_RECORDS = "lag_records"
"""Reported by a stream consumer in `record_autoscaling_stats`: records that wait in its partitions."""

PARTITIONS = "partitions"
"""Reported beside it: how many partitions it has been assigned."""


class LagPolicy:
    """Wants as many stream consumers as it takes for each to have at most so many records waiting.

    Each consumer reports its own partitions every 10 s, so the sum is the whole group's lag. A consumer beyond the
    number of partitions would have nothing to read; there is never one. Serve applies the delays and the bounds of the
    deployment to what this wants.
    """

    def __init__(self, target_lag_records: int) -> None:
        self._target_lag_records = target_lag_records

    def __call__(self, context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        """Return the number of replicas wanted, and no state."""
        metrics = context.aggregated_metrics or {}
        lags = metrics.get(LAG_RECORDS)
        if not lags:
            return context.target_num_replicas, {}
        partitions = sum(metrics.get(PARTITIONS, {}).values())
        wanted = math.ceil(sum(lags.values()) / self._target_lag_records)
        # At a rebalance a partition may be missing in the sum, or be in it twice; the next report sets it right.
        return max(1, min(wanted, math.ceil(partitions))), {}


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
            "policy_function": "services.autoscaling:LagPolicy",
            "policy_kwargs": {"target_lag_records": settings.target_lag_records},
        }
    return {"autoscaling_config": scaling}
