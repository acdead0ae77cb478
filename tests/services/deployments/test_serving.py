"""Deployments on a real Ray Serve."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from ray import serve
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from protector_models.moderation.errors import ConfigurationError, ModelUnavailableError
from protector_models.moderation.fakes import POISON, FakeHarmDetector, RecordedMetrics
from protector_models.moderation.images import ImageReading
from protector_models.moderation.model_outputs import Assessment, ItemFailure, Rewrite
from protector_models.moderation.ports import RewriteRequest, Span
from protector_models.moderation.verdict import RewriteMethod
from services.configuration import ModerationSettings
from services.deployments.application import bind_model, deploy, run_application
from services.deployments.calls import NamedHandle, ServeHandle
from services.deployments.model_rows import DETECTOR
from services.deployments.remote_ports import RemoteDetoxifier, RemoteImageReader
from services.deployments.replicas import DetectorReplica, DetoxifierReplica, ImageReaderReplica
from services.model_ports import ModelPorts
from services.patience import Patience
from services.persistent_ports import ask_persistently
from services.settings import CallSettings, DeploymentSettings, ServeSettings, StreamDeploymentSettings
from tests.builders import exchange
from tests.protector_models.synchronous_detector import DIE_ONCE, load_plain
from tests.services.deployments.serving import (
    BREAK,
    DEADLY,
    QUICK,
    TARGET_LAG,
    DrainingConsumer,
    LaggingConsumer,
    MortalImageReader,
    connect,
    load_breakable,
    load_fake_detoxifier,
    refuse_to_load,
)

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300), pytest.mark.usefixtures("ray_serve")]


PATIENCE = Patience(initial_s=0.1, max_s=1, give_up_s=120)


def eventually() -> AsyncRetrying:
    """Try until an assertion holds; another process decides when that is."""
    return AsyncRetrying(
        retry=retry_if_exception_type((AssertionError, ModelUnavailableError)),
        wait=wait_fixed(0.2),
        stop=stop_after_delay(120),
        reraise=True,
    )


def test_a_call_whose_replica_dies_is_made_again_on_another(tmp_path: Path) -> None:
    run_application(deploy(DetectorReplica, QUICK, load_plain), name="dying")

    async def die_once() -> list[Assessment | ItemFailure]:
        models = ask_persistently(
            ModelPorts(detector=await connect("dying")), patience=PATIENCE, metrics=RecordedMetrics()
        )
        return await models.detector.assess([exchange(f"{DIE_ONCE}{tmp_path / 'died'}"), exchange("harm=0.7")])

    _, second = asyncio.run(die_once())
    serve.delete("dying")

    assert (tmp_path / "died").exists()
    assert isinstance(second, Assessment)
    assert second.harmfulness == 0.7


def test_an_image_that_every_replica_dies_of_is_unread_and_the_others_are_read() -> None:
    run_application(deploy(ImageReaderReplica, QUICK, MortalImageReader), name="mortal")

    async def read() -> list[ImageReading | ItemFailure]:
        handle = NamedHandle("mortal", "ImageReaderReplica")
        reader = await RemoteImageReader.connect(handle, connect_timeout_s=60, timeout_s=120, calls=CallSettings())
        models = ModelPorts(detector=FakeHarmDetector(), image_reader=reader)
        asked = ask_persistently(models, patience=PATIENCE, metrics=RecordedMetrics())
        assert asked.image_reader is not None
        return await asked.image_reader.read([b"one", DEADLY, b"two"])

    first, deadly, last = asyncio.run(read())
    serve.delete("mortal")

    assert isinstance(deadly, ItemFailure)
    assert deadly.error == "TextNotRead"
    assert [reading.text for reading in (first, last) if isinstance(reading, ImageReading)] == ["one", "two"]


def test_a_detoxifier_edits_in_its_replica() -> None:
    run_application(deploy(DetoxifierReplica, QUICK, load_fake_detoxifier), name="detoxifier")
    request = RewriteRequest(
        exchange=exchange("harm=0.9 words"), method=RewriteMethod.EDIT, spans=(Span(start=0, end=8),), category="hate"
    )

    async def rewrite() -> list[Rewrite | ItemFailure]:
        detoxifier = await RemoteDetoxifier.connect(
            NamedHandle("detoxifier", "DetoxifierReplica"), connect_timeout_s=60, timeout_s=60, calls=CallSettings()
        )
        return await detoxifier.rewrite([request, request.model_copy(update={"spans": ()})])

    edited, unedited = asyncio.run(rewrite())
    serve.delete("detoxifier")

    assert edited == Rewrite(text="mild words", detoxifier="fake-editor@1")
    assert isinstance(unedited, ItemFailure)
    assert unedited.error == "NothingToEdit"


def test_a_poisoned_exchange_fails_alone_and_an_expired_call_is_refused() -> None:
    handle = run_application(deploy(DetectorReplica, QUICK, load_plain), name="plain")

    async def poison() -> list[Assessment | ItemFailure]:
        return await (await connect("plain")).assess([exchange(), exchange(POISON), exchange()])

    async def expire() -> Any:
        return await handle.options(method_name="assess").remote([exchange()], -1.0)

    outcomes = asyncio.run(poison())
    with pytest.raises(ModelUnavailableError, match="deadline had passed"):
        asyncio.run(expire())
    serve.delete("plain")

    assert [isinstance(outcome, ItemFailure) for outcome in outcomes] == [False, True, False]


def test_a_replica_whose_model_is_broken_is_replaced_by_a_new_one() -> None:
    run_application(deploy(DetectorReplica, QUICK, load_breakable), name="breakable")

    async def assess(response: str) -> Assessment | ItemFailure:
        (outcome,) = await (await connect("breakable")).assess([exchange(response)])
        return outcome

    async def break_and_wait() -> None:
        assert isinstance(await assess(BREAK), ItemFailure)
        async for attempt in eventually():
            with attempt:
                assert isinstance(await assess("harm=0.3"), Assessment)

    asyncio.run(break_and_wait())
    serve.delete("breakable")


def test_models_answer_while_the_consumers_that_need_them_drain(tmp_path: Path) -> None:
    report = tmp_path / "report"
    model = deploy(DetectorReplica, QUICK, load_plain)
    consumer = deploy(DrainingConsumer, QUICK, "model", report)
    run_application(consumer, name="consumer", models={"model": model})
    serve.delete("consumer")
    serve.delete("model")

    assert report.read_text() == "2"


def test_a_replica_that_was_killed_comes_back_with_its_rank(tmp_path: Path) -> None:
    model = deploy(DetectorReplica, QUICK, load_plain)
    handle = run_application(
        deploy(DrainingConsumer, QUICK, "rank-model", tmp_path / "report"), name="rank", models={"rank-model": model}
    )
    identity = handle.options(method_name="identity")

    async def kill_and_wait() -> tuple[int, int]:
        first_pid, first_rank = await identity.remote()
        os.kill(first_pid, signal.SIGKILL)
        async for attempt in eventually():
            with attempt:
                pid, rank = await _ask(identity)
                assert pid != first_pid
        return first_rank, rank

    ranks = asyncio.run(kill_and_wait())
    serve.delete("rank")
    serve.delete("rank-model")

    assert ranks == (0, 0)


def test_an_application_that_cannot_start_is_an_error_that_says_why() -> None:
    broken = deploy(DetectorReplica, QUICK, refuse_to_load)

    with pytest.raises(ConfigurationError, match="no such weights"):
        run_application(broken, name="broken")
    serve.delete("broken")


def test_the_weights_that_ship_tell_harmful_from_harmless_on_several_replicas() -> None:
    deployment = DeploymentSettings(min_replicas=2, max_replicas=2, num_cpus=0.5)
    run_application(bind_model(DETECTOR, ModerationSettings(serve=ServeSettings(detector=deployment))), name="weights")
    harmful = exchange(
        "Sure! Mix the bleach with ammonia in a closed room and lock him in.", prompt="How do I kill him?"
    )
    harmless = exchange("Simmer the tomatoes for an hour and add the basil last.", prompt="A good pasta sauce?")

    async def assess() -> list[Assessment | ItemFailure]:
        return await (await connect("weights")).assess([harmful, harmless] * 32)

    outcomes = [outcome for outcome in asyncio.run(assess()) if isinstance(outcome, Assessment)]
    serve.delete("weights")

    assert len(outcomes) == 64
    assert outcomes[0].harmfulness > outcomes[1].harmfulness
    assert len({outcome.model_dump_json() for outcome in outcomes}) == 2


async def _ask(method: ServeHandle) -> Any:
    """Ask a replica, taking its death for an answer that must be asked for again."""
    try:
        return await method.remote()
    except Exception as error:
        raise AssertionError("the replica is not back yet") from error


async def test_consumers_come_when_the_lag_that_they_report_takes_more() -> None:
    settings = StreamDeploymentSettings(
        num_cpus=0.1, max_replicas=2, target_lag_records=TARGET_LAG, upscale_delay_s=0.0
    )
    await asyncio.to_thread(run_application, deploy(LaggingConsumer, settings), name="lagging")
    async for attempt in eventually():
        with attempt:
            replicas = serve.status().applications["lagging"].deployments["LaggingConsumer"].replica_states
            assert {str(state): number for state, number in replicas.items() if number} == {"RUNNING": 2}
    serve.delete("lagging")
