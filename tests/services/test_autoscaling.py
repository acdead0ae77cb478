"""How many replicas a deployment has."""

from collections.abc import Mapping
from typing import cast

import pytest
from ray.serve._private.common import DeploymentID, ReplicaID
from ray.serve.config import AutoscalingConfig, AutoscalingContext

from services.autoscaling import LAG_RECORDS, PARTITIONS, LagPolicy, scaling_options
from services.settings import DeploymentSettings, StreamDeploymentSettings


def context(metrics: Mapping[str, Mapping[str, float]], *, replicas: int = 1) -> AutoscalingContext:
    """Build what Serve shows a policy: a metric of each replica, by name."""
    return AutoscalingContext(
        deployment_id=DeploymentID("StreamConsumer"),
        deployment_name="StreamConsumer",
        app_name="weir",
        current_num_replicas=replicas,
        target_num_replicas=replicas,
        running_replicas=[],
        total_num_requests=0.0,
        total_queued_requests=0.0,
        aggregated_metrics=cast("dict[str, dict[ReplicaID, float]]", metrics),
        raw_metrics={},
        capacity_adjusted_min_replicas=1,
        capacity_adjusted_max_replicas=100,
        policy_state={},
        last_scale_up_time=None,
        last_scale_down_time=None,
        current_time=None,
        config=None,
    )


@pytest.mark.parametrize(
    ("lags", "wanted"),
    [([0.0], 1), ([1_000.0], 1), ([1_001.0], 2), ([1_500.0, 1_400.0], 3), ([9_000.0, 0.0], 4)],
)
def test_there_are_as_many_consumers_as_the_lag_takes_but_no_more_than_partitions(
    lags: list[float], wanted: int
) -> None:
    metrics = {
        LAG_RECORDS: {f"r{number}": lag for number, lag in enumerate(lags)},
        PARTITIONS: {f"r{number}": 4 / len(lags) for number, _ in enumerate(lags)},
    }

    assert LagPolicy(target_lag_records=1_000)(context(metrics, replicas=len(lags))) == (wanted, {})


def test_nothing_changes_while_no_consumer_has_reported() -> None:
    assert LagPolicy(target_lag_records=1_000)(context({}, replicas=3)) == (3, {})


def test_equal_bounds_are_a_fixed_number() -> None:
    assert scaling_options(DeploymentSettings(min_replicas=2, max_replicas=2)) == {"num_replicas": 2}


def test_models_scale_on_calls() -> None:
    options = scaling_options(DeploymentSettings(max_replicas=4, concurrency=3, upscale_delay_s=2))
    config = AutoscalingConfig.model_validate(options["autoscaling_config"])

    assert (config.min_replicas, config.max_replicas, config.target_ongoing_requests) == (1, 4, 3)
    assert config.policy.is_default_policy_function()


def test_consumers_scale_on_lag() -> None:
    options = scaling_options(StreamDeploymentSettings(max_replicas=4, target_lag_records=77))
    config = AutoscalingConfig.model_validate(options["autoscaling_config"])
    policy = cast("type[LagPolicy]", config.policy.get_policy())(**config.policy.policy_kwargs)

    metrics = {LAG_RECORDS: {"r0": 78.0}, PARTITIONS: {"r0": 4.0}}
    assert policy(context(metrics)) == (2, {})
