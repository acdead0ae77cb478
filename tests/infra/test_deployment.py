"""Compose file and Kubernetes manifest agree with the code they start."""

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray.serve.schema import ServeDeploySchema

from pipelines.application.deployment import APPLICATION, ApplicationArguments
from pipelines.settings import load_settings
from services.deployments.model_rows import MODEL_ROWS

INFRA = Path(__file__).parents[2] / "infra"
COMPOSE: dict[str, Any] = yaml.safe_load((INFRA / "compose" / "compose.yaml").read_text())
CONFIG_MAP, RAY_SERVICE = yaml.safe_load_all((INFRA / "kuberay" / "rayservice.yaml").read_text())
SERVE = yaml.safe_load(RAY_SERVICE["spec"]["serveConfigV2"])
RAY_WORKER_PORTS = range(10_002, 20_000)


def test_the_serve_file_starts_the_same_applications_as_the_manifest() -> None:
    file = yaml.safe_load((INFRA / "serve" / "weir.yaml").read_text())
    assert file["applications"] == SERVE["applications"]


def _seconds(duration: str) -> int:
    assert duration.endswith("s")
    return int(duration[:-1])


def _pods() -> list[dict[str, Any]]:
    cluster = RAY_SERVICE["spec"]["rayClusterConfig"]
    return [group["template"]["spec"] for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]]


def test_every_file_stands_in_the_map() -> None:
    described = set(re.findall(r"^\| `([^`]+)` \|", (INFRA / "README.md").read_text(), re.MULTILINE))
    there = {str(path.relative_to(INFRA)) for path in INFRA.rglob("*") if path.is_file()} - {"README.md"}
    assert there <= described


def test_there_is_no_python() -> None:
    assert not list(INFRA.rglob("*.py"))


def test_every_service_of_compose_says_whether_it_is_well() -> None:
    assert set(COMPOSE["services"]) == {"kafka", "redis", "weir"}
    assert all(service["healthcheck"]["test"] for service in COMPOSE["services"].values())


def test_the_variables_of_compose_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in COMPOSE["services"]["weir"]["environment"].items():
        monkeypatch.setenv(name, value)
    settings = load_settings(None)
    assert settings.kafka.bootstrap_servers == ("kafka:9092",)
    assert settings.serve.address == "auto"
    assert settings.redis.url is not None
    assert settings.redis.url.get_secret_value() == "redis://redis:6379/0"


def test_kafka_tells_its_clients_the_addresses_that_they_reach() -> None:
    advertised = COMPOSE["services"]["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert "INTERNAL://kafka:9092" in advertised
    assert "HOST://localhost:29092" in advertised
    assert COMPOSE["services"]["kafka"]["ports"] == ["127.0.0.1:29092:29092"]


def test_the_metrics_of_compose_have_a_port_that_ray_does_not_give_to_its_workers() -> None:
    match = re.search(r"--metrics-export-port (\d+)", " ".join(COMPOSE["services"]["weir"]["command"]))
    assert match is not None
    assert int(match[1]) not in RAY_WORKER_PORTS
    assert COMPOSE["services"]["weir"]["ports"] == [f"127.0.0.1:{match[1]}:{match[1]}"]


def test_whoever_stops_weir_waits_until_it_has_drained() -> None:
    drain_s = load_settings(None).serve.stream.graceful_shutdown_timeout_s
    assert _seconds(COMPOSE["services"]["weir"]["stop_grace_period"]) > drain_s
    assert _pods()[-1]["terminationGracePeriodSeconds"] > drain_s


def test_ray_serve_takes_the_applications_of_the_manifest() -> None:
    schema = ServeDeploySchema.model_validate(SERVE)
    models = {row.application for row in MODEL_ROWS if row.is_configured(load_settings(None))}
    assert {application.name for application in schema.applications} == {*models, APPLICATION}


@pytest.mark.parametrize("application", SERVE["applications"], ids=lambda application: str(application["name"]))
def test_what_an_application_of_the_manifest_imports_is_there(application: dict[str, Any]) -> None:
    module, _, function = application["import_path"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    ApplicationArguments.model_validate(application["args"])


def test_the_configuration_of_the_manifest_is_one(tmp_path: Path) -> None:
    (tmp_path / "weir.yaml").write_text(CONFIG_MAP["data"]["weir.yaml"])
    settings = load_settings(tmp_path / "weir.yaml")
    assert settings.serve.detector.max_replicas == 8
    assert settings.mllm.kind == "off"


def test_manifest_and_compose_use_one_image_and_the_installed_ray() -> None:
    images = {container["image"] for pod in _pods() for container in pod["containers"]}
    assert images == {COMPOSE["services"]["weir"]["image"]}
    assert RAY_SERVICE["spec"]["rayClusterConfig"]["rayVersion"] == ray.__version__


def test_every_pod_finds_the_configuration_where_the_applications_look_for_it() -> None:
    path = Path(SERVE["applications"][0]["args"]["config"])
    assert path.name in CONFIG_MAP["data"]
    for pod in _pods():
        assert pod["volumes"][0]["configMap"]["name"] == CONFIG_MAP["metadata"]["name"]
        assert pod["containers"][0]["volumeMounts"][0]["mountPath"] == str(path.parent)
