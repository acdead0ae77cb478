"""Settings of the deployments."""

import pytest
from pydantic import ValidationError

from services.settings import DeploymentSettings, RedisSettings, ServeSettings


def test_a_replica_accepts_more_calls_than_it_works_on_so_that_it_never_idles() -> None:
    assert DeploymentSettings(concurrency=4).max_ongoing_requests == 8


def test_fewer_replicas_at_most_than_at_least_is_an_error_that_names_both() -> None:
    with pytest.raises(ValidationError, match=r"max_replicas: expected at least min_replicas \(3\), got 2"):
        DeploymentSettings(min_replicas=3, max_replicas=2)


def test_an_unknown_key_is_an_error_that_names_it() -> None:
    with pytest.raises(ValidationError, match="detektor"):
        ServeSettings.model_validate({"detektor": {}})


def test_a_part_of_a_section_keeps_the_defaults_of_the_rest() -> None:
    settings = ServeSettings.model_validate({"detoxifier": {"max_replicas": 3}})

    assert settings.detoxifier.num_cpus == ServeSettings().detoxifier.num_cpus


def test_a_password_in_a_url_is_in_no_representation() -> None:
    settings = RedisSettings.model_validate({"url": "redis://:hunter2@localhost"})

    assert "hunter2" not in repr(settings)
    assert "hunter2" not in settings.model_dump_json()
