"""The model ports, asked persistently: one poison, one deadline, one process after the other."""

import asyncio
from collections.abc import Sequence
from typing import TypeVar

import pytest

from protector_models.moderation.conversation import ConversationEvent, Exchange
from protector_models.moderation.errors import DeviceMemoryError, LateError, ModelUnavailableError, SuspectBatchError
from protector_models.moderation.fakes import (
    FakeDetoxifier,
    FakeGenerator,
    FakeHarmDetector,
    FakeImageReader,
    RecordedMetrics,
)
from protector_models.moderation.images import ImageReading
from protector_models.moderation.model_outputs import Assessment, ItemFailure, Rewrite
from protector_models.moderation.ports import Answer, RewriteRequest
from protector_models.moderation.verdict import RewriteMethod
from services.deployments.remote_ports import RemoteDetoxifier, RemoteGenerator, RemoteHarmDetector, RemoteImageReader
from services.deployments.solitude import Solitude
from services.model_ports import ModelPorts
from services.patience import Patience
from services.persistent_ports import ask_persistently
from services.settings import CallSettings
from tests.builders import event, exchange
from tests.services.deployments.mortal_deployment import MortalDeployment, MortalHandle

DEADLY = "deadly"
AT_ONCE = Patience(initial_s=0, max_s=0)
LONG_S = 60.0
OutcomeT = TypeVar("OutcomeT")


class MortalReplica:
    """A replica of every kind of model at once; it dies of items in which the word stands."""

    def __init__(self, deployment: MortalDeployment) -> None:
        self._deployment = deployment
        self._solitude = Solitude()

    async def assess(
        self, exchanges: Sequence[Exchange], _remaining_s: float, *, alone: bool = False
    ) -> list[Assessment | ItemFailure]:
        await self._compute([item.response for item in exchanges], alone=alone)
        return await FakeHarmDetector().assess(exchanges)

    async def rewrite(
        self, requests: Sequence[RewriteRequest], _remaining_s: float, *, alone: bool = False
    ) -> list[Rewrite | ItemFailure]:
        await self._compute([request.exchange.response for request in requests], alone=alone)
        return await FakeDetoxifier().rewrite(requests)

    async def generate(
        self, events: Sequence[ConversationEvent], _remaining_s: float, *, alone: bool = False
    ) -> list[Answer | ItemFailure]:
        await self._compute([item.messages[-1].text() for item in events], alone=alone)
        return await FakeGenerator().generate(events)

    async def read(
        self, contents: Sequence[bytes], _remaining_s: float, *, alone: bool = False
    ) -> list[ImageReading | ItemFailure]:
        await self._compute([content.decode(errors="replace") for content in contents], alone=alone)
        return await FakeImageReader().read(contents)

    async def _compute(self, texts: Sequence[str], *, alone: bool) -> None:
        async with self._solitude.enter(alone=alone):
            for _ in texts:
                await asyncio.sleep(0)
            if any(DEADLY in text for text in texts):
                await self._deployment.die()


def connect(deployment: MortalDeployment) -> ModelPorts:
    """Ask all its models persistently, as a process of its own does."""
    handle, calls = MortalHandle(deployment), CallSettings(max_items=4)
    models = ModelPorts(
        detector=RemoteHarmDetector(handle, timeout_s=LONG_S, settings=calls, revision="fake@1"),
        detoxifier=RemoteDetoxifier(handle, timeout_s=LONG_S, settings=calls, revision="fake@1"),
        generator=RemoteGenerator(handle, timeout_s=LONG_S, settings=calls, revision="fake@1"),
        image_reader=RemoteImageReader(handle, timeout_s=LONG_S, settings=calls, revision="fake@1"),
    )
    return ask_persistently(models, patience=AT_ONCE, metrics=RecordedMetrics())


def _request(response: str) -> RewriteRequest:
    return RewriteRequest(exchange=exchange(response), method=RewriteMethod.GENERATE, category=None)


async def _ask(models: ModelPorts, port: str, texts: Sequence[str]) -> Sequence[object]:
    assert models.detoxifier is not None
    assert models.generator is not None
    assert models.image_reader is not None
    match port:
        case "detector":
            return await models.detector.assess([exchange(text) for text in texts])
        case "detoxifier":
            return await models.detoxifier.rewrite([_request(text) for text in texts])
        case "mllm":
            return await models.generator.generate([event(None, prompt=text) for text in texts])
        case _:
            return await models.image_reader.read([text.encode() for text in texts])


@pytest.mark.parametrize("port", ["detector", "detoxifier", "mllm", "images"])
async def test_what_kills_whoever_takes_it_is_convicted_and_all_beside_it_have_their_outcomes(port: str) -> None:
    deployment = MortalDeployment(MortalReplica)
    texts = [f"text {number}" for number in range(11)]
    outcomes = await _ask(connect(deployment), port, [*texts, DEADLY])
    *fine, deadly = outcomes
    assert not [outcome for outcome in fine if isinstance(outcome, ItemFailure)]
    assert isinstance(deadly, ItemFailure)
    assert deadly.error == ("TextNotRead" if port == "images" else "KillsTheModel")
    assert DEADLY not in deadly.message
    assert deployment.deaths == 3


async def test_a_poison_of_one_process_convicts_nothing_of_another_that_shares_its_replica() -> None:
    deployment = MortalDeployment(MortalReplica)
    processes = [connect(deployment) for _ in range(4)]
    batches = [[f"{process} {number}" for number in range(6)] for process in range(4)]
    batches[0].insert(3, DEADLY)
    batches[2].insert(0, f"{DEADLY} too")
    outcomes = await asyncio.gather(
        *(_ask(models, "detector", batch) for models, batch in zip(processes, batches, strict=True))
    )
    for batch, found in zip(batches, outcomes, strict=True):
        assert [isinstance(outcome, ItemFailure) for outcome in found] == [DEADLY in text for text in batch]


class TroubledDetector(FakeHarmDetector):
    """Breaks off on items in which the word stands, in this very process."""

    def __init__(self, error: ModelUnavailableError) -> None:
        super().__init__()
        self._error = error
        self.num_broken = 0

    async def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        if any(DEADLY in item.response for item in exchanges):
            self.num_broken += 1
            raise self._error
        return await super().assess(exchanges)


@pytest.mark.parametrize(
    ("error", "conviction"),
    [(LateError("late"), "OutlastsTheDeadline"), (DeviceMemoryError("full"), "OutgrowsTheDevice")],
)
async def test_a_model_in_this_process_is_asked_in_the_same_way(error: SuspectBatchError, conviction: str) -> None:
    detector, metrics = TroubledDetector(error), RecordedMetrics()
    models = ask_persistently(ModelPorts(detector=detector), patience=AT_ONCE, metrics=metrics)
    fine, broken = await models.detector.assess([exchange("harm=0.5"), exchange(DEADLY)])
    assert isinstance(fine, Assessment)
    assert isinstance(broken, ItemFailure)
    assert broken.error == conviction
    assert detector.num_broken == metrics.total("weir_batch_retries_total") == 3
    assert (models.detoxifier, models.generator, models.image_reader) == (None, None, None)
    assert models.detector.revision == "fake-detector@1"
