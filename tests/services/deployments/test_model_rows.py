"""The rows of models, without starting Ray."""

import pickle
import threading

import pytest

from protector_models.mllms.settings import MllmSettings
from protector_models.moderation.fakes import FakeHarmDetector
from protector_models.settings import DetectorSettings
from services.configuration import ModerationSettings
from services.deployments.model_rows import DETECTOR, MODEL_ROWS, ModelRow, connect_models, find_handles
from services.deployments.replicas import DetectorReplica, ImageReaderReplica
from services.model_ports import ModelPorts
from services.settings import DeploymentSettings, ServeSettings
from tests.builders import exchange
from tests.protector_models.open_image_reader import OpenFakeImageReader
from tests.protector_models.synchronous_detector import load_plain
from tests.services.deployments.fake_handle import FakeDeployment, FakeHandle

EVERYTHING = ModerationSettings(
    mllm=MllmSettings(kind="openai", base_url="http://localhost:8000/v1", model="m"),
    serve=ServeSettings(images=DeploymentSettings(num_cpus=4.0)),
)


def _engine_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("window-scorer")}


@pytest.mark.parametrize(
    ("num_cpus", "num_threads", "expected"), [(3.0, None, 3), (0.5, None, 1), (2.9, None, 2), (1.0, 2, 2)]
)
@pytest.mark.shipped
async def test_the_engine_computes_on_as_many_threads_as_the_deployment_has_cpus(
    num_cpus: float, num_threads: int | None, expected: int
) -> None:
    serve = ServeSettings(detector=DeploymentSettings(num_cpus=num_cpus))
    settings = ModerationSettings(detector=DetectorSettings(num_threads=num_threads), serve=serve)
    before = _engine_threads()

    detector = DETECTOR.loader(settings)()
    await detector.assess([exchange("word " * 150, prompt=f"number {index}") for index in range(8)])

    assert len(_engine_threads() - before) == expected
    await detector.close()


def test_rows_have_the_names_that_verdicts_and_settings_use() -> None:
    names = [row.name for row in MODEL_ROWS]
    assert set(names) == ModelPorts(detector=FakeHarmDetector()).by_name().keys()
    for row in MODEL_ROWS:
        assert row.deployment(EVERYTHING.serve) is getattr(EVERYTHING.serve, row.name)
    assert len({row.application for row in MODEL_ROWS}) == len({row.replica for row in MODEL_ROWS}) == len(names)


@pytest.mark.parametrize("row", MODEL_ROWS, ids=lambda row: str(row.name))
def test_what_loads_a_model_travels_to_its_replicas(row: ModelRow) -> None:
    assert row.is_configured(EVERYTHING)
    loader = pickle.loads(pickle.dumps(row.loader(EVERYTHING)))
    assert loader.keywords["num_threads"] == max(1, int(row.deployment(EVERYTHING.serve).num_cpus))
    assert loader.keywords["timeout_s"] == row.deadline_s(EVERYTHING.serve.deadlines)


def test_there_are_handles_to_the_models_that_are_configured() -> None:
    assert find_handles(EVERYTHING).keys() == {row.name for row in MODEL_ROWS}
    assert find_handles(ModerationSettings()).keys() == {"detector", "images", "detoxifier"}


async def test_models_are_reached_over_the_handles_that_there_are() -> None:
    behind = {"detector": DetectorReplica(load_plain), "images": ImageReaderReplica(OpenFakeImageReader)}
    models = await connect_models(
        {name: FakeHandle(FakeDeployment(replica)) for name, replica in behind.items()}, ServeSettings()
    )
    revisions = {name: None if model is None else model.revision for name, model in models.by_name().items()}
    assert revisions == {"detector": "plain-detector@1", "images": "fake-reader@1", "detoxifier": None, "mllm": None}
