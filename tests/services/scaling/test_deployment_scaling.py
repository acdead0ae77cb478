"""The options of a deployment that say how many replicas it has."""

from ray.serve.config import AutoscalingConfig

from services.scaling.deployment_scaling import scaling_options
from services.scaling.lag_policy import LagPolicy
from services.settings import DeploymentSettings, StreamDeploymentSettings


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

    assert config.policy.get_policy() is LagPolicy
    assert config.policy.policy_kwargs == {"target_lag_records": 77}
