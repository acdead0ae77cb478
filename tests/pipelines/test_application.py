"""The applications for Ray Serve, built without starting Ray."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ray.serve import Application

from pipelines.application import (
    ApplicationArguments,
    build,
    build_detector,
    build_detoxifier,
    build_images,
    build_mllm,
)
from protector_models.moderation.errors import ConfigurationError
from tests.pipelines.logs import logs_of_its_own

WITH_MLLM = "mllm: {kind: openai, base_url: 'http://localhost:8000/v1', model: m}"


@pytest.fixture(autouse=True)
def _logs() -> Iterator[None]:
    with logs_of_its_own():
        yield


@pytest.fixture
def arguments(tmp_path: Path) -> Callable[[str], ApplicationArguments]:
    """Give the arguments for a configuration."""

    def write(content: str) -> ApplicationArguments:
        (tmp_path / "weir.yaml").write_text(content)
        return ApplicationArguments(config=tmp_path / "weir.yaml")

    return write


@pytest.mark.parametrize("build_one", [build, build_images, build_detector, build_detoxifier, build_mllm])
def test_every_application_is_built_from_one_configuration(
    build_one: Callable[[ApplicationArguments], Application], arguments: Callable[[str], ApplicationArguments]
) -> None:
    assert isinstance(build_one(arguments(WITH_MLLM)), Application)


@pytest.mark.parametrize(
    ("build_one", "content", "named"),
    [
        (build_mllm, "", "weir-mllm"),
        (build_detoxifier, "detoxifier: {edit: off}", "weir-detoxifier"),
        (build_images, "images: {read: 'off'}", "weir-images"),
    ],
)
def test_a_model_that_is_switched_off_is_named_where_its_application_is_asked_for(
    build_one: Callable[[ApplicationArguments], Application],
    content: str,
    named: str,
    arguments: Callable[[str], ApplicationArguments],
) -> None:
    with pytest.raises(ConfigurationError, match=f"{named}: is switched off"):
        build_one(arguments(content))


@pytest.mark.parametrize("content", ["policy: none.yaml", "detector: {checkpoint: /nowhere}", "kafak: {}"])
def test_consumers_are_not_built_from_a_wrong_configuration(
    content: str, arguments: Callable[[str], ApplicationArguments]
) -> None:
    with pytest.raises(ConfigurationError):
        build(arguments(content))
