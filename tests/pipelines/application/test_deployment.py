"""The applications for Ray Serve, built without starting Ray."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray import serve
from ray.serve import Application

from pipelines.application.deployment import (
    ApplicationArguments,
    ask_consumers,
    build,
    build_detector,
    build_detoxifier,
    build_http,
    build_images,
    build_mllm,
)
from protector_models.moderation.errors import ConfigurationError
from tests.logs import logs_of_its_own

WITH_MLLM = "mllm: {kind: openai, base_url: 'http://localhost:8000/v1', model: m}\nhttp: {port: 9000}"


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


@pytest.mark.parametrize("build_one", [build, build_http, build_images, build_detector, build_detoxifier, build_mllm])
def test_every_application_is_built_from_one_configuration(
    build_one: Callable[[ApplicationArguments], Application], arguments: Callable[[str], ApplicationArguments]
) -> None:
    assert isinstance(build_one(arguments(WITH_MLLM)), Application)


def test_a_certificate_that_serve_would_not_show_is_refused(
    arguments: Callable[[str], ApplicationArguments],
) -> None:
    with pytest.raises(ConfigurationError, match=r"http\.tls: expected null with serve deploy"):
        build_http(arguments("http: {tls: {certificate_file: a.pem, key_file: b.pem}}"))


def test_a_front_that_is_not_configured_is_named_where_its_application_is_asked_for(
    arguments: Callable[[str], ApplicationArguments],
) -> None:
    with pytest.raises(ConfigurationError, match="weir-http: http is not in the configuration"):
        build_http(arguments(""))


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


class Talking:
    """A consumer that says what it is told to say."""

    def __init__(self, status: dict[str, object] | None) -> None:
        self._status = status

    async def status(self) -> dict[str, object]:
        """Say it, or fail."""
        if self._status is None:
            raise ZeroDivisionError
        return self._status


class Several:
    """A handle to several deployments of one replica each, asked as one of several replicas is."""

    def __init__(self, *handles: Any) -> None:
        self._handles = handles

    def broadcast(self, method_name: str) -> "Several":
        """Call a method on each."""
        self._responses = [handle.broadcast(method_name) for handle in self._handles]
        return self

    def results(self, *, timeout_s: float, return_exceptions: bool) -> list[Any]:
        """Collect what each gives."""
        return [
            result
            for response in self._responses
            for result in response.results(timeout_s=timeout_s, return_exceptions=return_exceptions)
        ]


def open_consumer(status: dict[str, object] | None, name: str) -> Any:
    """Run a consumer in this process, as Serve does for tests: what a broadcast is stands in Ray."""
    application = serve.deployment(num_replicas=1)(Talking).bind(status)
    return serve.run(application, name=name, route_prefix=None, _local_testing_mode=True)


def test_a_consumer_that_has_stopped_does_not_hide_behind_the_others_and_neither_does_a_silent_one() -> None:
    working: dict[str, object] = {"member": "0", "stopped": None}
    stopped: dict[str, object] = {"member": "1", "stopped": "RunawayDeadLettersError: too many"}
    handles = [open_consumer(status, f"talking-{place}") for place, status in enumerate([stopped, None, working])]
    found = ask_consumers(Several(*handles), timeout_s=60)
    assert found.statuses == [working, stopped]
    assert len(found.silent) == 1
