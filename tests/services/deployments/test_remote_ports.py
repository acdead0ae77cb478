"""The model ports over handles."""

from collections.abc import Sequence

import pytest
from ray.exceptions import ActorDiedError, RayTaskError
from ray.serve.exceptions import BackPressureError, ReplicaUnavailableError

from protector_models.detoxification.detoxifier import ModelDetoxifier
from protector_models.moderation.conversation import ConversationEvent, Exchange
from protector_models.moderation.errors import (
    IncompleteError,
    LateError,
    ModelUnavailableError,
    SuspectBatchError,
)
from protector_models.moderation.fakes import POISON, FakeGenerator, FakeTextEditor
from protector_models.moderation.images import ImageReading
from protector_models.moderation.model_outputs import Assessment, ItemFailure, Rewrite
from protector_models.moderation.ports import Answer, RewriteRequest, Span
from protector_models.moderation.verdict import RewriteMethod
from services.deployments.calls import ReplicaDiedError, ask
from services.deployments.remote_ports import RemoteDetoxifier, RemoteGenerator, RemoteHarmDetector, RemoteImageReader
from services.deployments.replicas import DetectorReplica, DetoxifierReplica, ImageReaderReplica
from services.deployments.solitude import OccupiedError
from services.settings import CallSettings
from tests.builders import event, exchange, texts_of
from tests.protector_models.open_image_reader import OpenFakeImageReader
from tests.protector_models.synchronous_detector import PlainDetector, load_plain, load_threaded
from tests.services.deployments.fake_handle import FakeDeployment, FakeHandle

LONG_S = 60.0
EDIT = RewriteRequest(
    exchange=exchange("harm=0.9 words"), method=RewriteMethod.EDIT, spans=(Span(start=0, end=14),), category=None
)


def deployment() -> FakeDeployment:
    """Build a detector's deployment."""
    return FakeDeployment(DetectorReplica(load_plain))


async def connect(
    deployment: FakeDeployment, *, timeout_s: float = LONG_S, calls: CallSettings | None = None
) -> RemoteHarmDetector:
    """Connect to it, and forget that call."""
    detector = await RemoteHarmDetector.connect(
        FakeHandle(deployment), connect_timeout_s=LONG_S, timeout_s=timeout_s, calls=calls or CallSettings()
    )
    deployment.calls.clear()
    return detector


def raised_in_replica(cause: Exception) -> Exception:
    """Return what Ray raises at the caller for an error of the deployment's code."""
    error = RayTaskError("assess", "Traceback ...", cause)  # type: ignore[no-untyped-call]  # Ray's is not annotated
    raised: Exception = error.as_instanceof_cause()  # type: ignore[no-untyped-call]  # the same
    return raised


async def test_the_revision_is_asked_for_once() -> None:
    detector = await connect(deployment())

    assert detector.revision == "plain-detector@1"


async def test_a_deployment_that_does_not_come_up_is_unavailable() -> None:
    with pytest.raises(ModelUnavailableError, match="revision"):
        await RemoteHarmDetector.connect(
            FakeHandle(FakeDeployment(None, hangs=True)), connect_timeout_s=0.05, timeout_s=1, calls=CallSettings()
        )


@pytest.mark.parametrize("gone", [ActorDiedError(), BackPressureError(9, 8)])
async def test_a_question_to_a_replica_that_is_gone_is_unavailable(gone: Exception) -> None:
    behind = deployment()
    behind.failures = [gone]

    with pytest.raises(ModelUnavailableError, match=type(gone).__name__):
        await ask(FakeHandle(behind), "revision", timeout_s=LONG_S)


async def test_a_fault_while_a_question_is_answered_is_raised() -> None:
    behind = deployment()
    behind.failures = [raised_in_replica(ZeroDivisionError("by zero"))]

    with pytest.raises(ZeroDivisionError):
        await ask(FakeHandle(behind), "revision", timeout_s=LONG_S)


async def test_a_batch_is_shared_by_several_calls_and_comes_back_in_order() -> None:
    behind = deployment()
    detector = await connect(behind, calls=CallSettings(max_characters=60, max_items=2))
    outcomes = await detector.assess([exchange(f"harm=0.{number}", prompt="p" * 10) for number in range(9)])

    assert [outcome.harmfulness for outcome in outcomes if not hasattr(outcome, "error")] == [
        number / 10 for number in range(9)
    ]
    assert [len(items) for items, _remaining_s in behind.calls] == [2, 2, 2, 2, 1]


async def test_nothing_to_assess_is_no_call() -> None:
    behind = deployment()
    detector = await connect(behind)

    assert await detector.assess([]) == []
    assert behind.calls == []


async def test_a_call_says_how_long_its_caller_waits() -> None:
    behind = deployment()
    detector = await connect(behind, timeout_s=LONG_S)
    await detector.assess([exchange()])

    ((_items, remaining_s),) = behind.calls
    # Once to wait for its turn, once for itself.
    assert LONG_S < remaining_s <= 2 * LONG_S


async def test_a_call_that_reached_no_replica_is_made_again() -> None:
    behind = deployment()
    detector = await connect(behind)
    behind.failures = [ReplicaUnavailableError("r1"), raised_in_replica(OccupiedError("alone"))]

    assert len(await detector.assess([exchange()])) == 1
    assert len(behind.calls) == 3


async def test_a_call_whose_replica_died_is_not_made_again_here() -> None:
    behind = deployment()
    detector = await connect(behind)
    behind.failures = [ActorDiedError()]

    with pytest.raises(ReplicaDiedError, match="ActorDiedError") as caught:
        await detector.assess([exchange()])
    assert isinstance(caught.value.__cause__, ActorDiedError)
    assert len(behind.calls) == 1


@pytest.mark.parametrize("refusal", [BackPressureError(9, 8), raised_in_replica(ModelUnavailableError("busy"))])
async def test_a_refusal_is_not_tried_again_here(refusal: Exception) -> None:
    behind = deployment()
    detector = await connect(behind)
    behind.failures = [refusal]

    with pytest.raises(ModelUnavailableError) as caught:
        await detector.assess([exchange()])
    assert type(caught.value) is ModelUnavailableError
    assert len(behind.calls) == 1


async def test_a_fault_in_the_deployment_is_raised_as_what_it_is() -> None:
    behind = deployment()
    detector = await connect(behind)
    behind.failures = [raised_in_replica(ZeroDivisionError("by zero"))]

    with pytest.raises(ZeroDivisionError) as caught:
        await detector.assess([exchange()])
    assert type(caught.value) is ZeroDivisionError


async def test_a_deployment_that_does_not_answer_is_unavailable_and_its_call_is_given_up() -> None:
    behind = deployment()
    detector = await connect(behind, timeout_s=0.05)
    behind.hangs = True

    with pytest.raises(ModelUnavailableError, match=r"no result within 0\.") as caught:
        await detector.assess([exchange()])
    assert not isinstance(caught.value, SuspectBatchError)
    assert behind.cancelled == 1


async def test_what_the_other_calls_of_a_batch_gave_is_kept_where_one_fails() -> None:
    behind = deployment()
    detector = await connect(behind, calls=CallSettings(max_items=1))
    behind.failures = [BackPressureError(9, 8), ActorDiedError()]

    with pytest.raises(IncompleteError, match="ActorDiedError") as caught:
        await detector.assess([exchange(), exchange(), exchange("harm=0.5"), exchange()])
    assert isinstance(caught.value.cause, ReplicaDiedError)
    assert [getattr(outcome, "harmfulness", None) for outcome in caught.value.outcomes] == [None, None, 0.5, 0.0]


async def test_what_a_replica_gave_before_its_model_broke_off_is_kept() -> None:
    behind = deployment()
    detector = await connect(behind, calls=CallSettings(max_items=2))
    behind.failures = [raised_in_replica(IncompleteError(LateError("late"), ["first", None]))]

    with pytest.raises(IncompleteError, match="late") as caught:
        await detector.assess([exchange(), exchange(), exchange("harm=0.5")])
    assert [getattr(outcome, "harmfulness", outcome) for outcome in caught.value.outcomes] == ["first", None, 0.5]


async def test_a_call_alone_says_so() -> None:
    behind = deployment()
    told: list[bool] = []

    class Watching(DetectorReplica):
        async def assess(
            self, exchanges: Sequence[Exchange], remaining_s: float, *, alone: bool = False
        ) -> list[Assessment | ItemFailure]:
            told.append(alone)
            return await super().assess(exchanges, remaining_s, alone=alone)

    behind.replica = Watching(load_plain)
    detector = await connect(behind)
    await detector.assess([exchange()])
    await detector.alone().assess([exchange()])
    assert told == [False, True]


async def test_a_new_revision_is_taken_on_with_the_first_result_that_names_it() -> None:
    behind = deployment()
    detector = await connect(behind)
    model = PlainDetector()
    model.revision = "plain-detector@2"
    behind.replica = DetectorReplica(lambda: load_threaded(model))

    (outcome,) = await detector.assess([exchange()])
    assert isinstance(outcome, Assessment)
    assert outcome.detector == detector.revision == "plain-detector@2"


async def test_a_result_of_the_wrong_length_is_an_error() -> None:
    class Forgetful:
        async def assess(self, *_: object) -> list[object]:
            return []

    behind = deployment()
    detector = await connect(behind)
    behind.replica = Forgetful()

    with pytest.raises(RuntimeError, match="expected 2 results, got 0"):
        await detector.assess([exchange(), exchange()])


def _edits(revision: str) -> FakeDeployment:
    editor = FakeTextEditor(revision=revision)
    return FakeDeployment(DetoxifierReplica(lambda: ModelDetoxifier(editor=editor, generator=None, timeout_s=LONG_S)))


async def test_a_detoxifier_behind_a_handle_rewrites() -> None:
    detoxifier = await RemoteDetoxifier.connect(
        FakeHandle(_edits("fake-editor@1")), connect_timeout_s=LONG_S, timeout_s=LONG_S, calls=CallSettings()
    )

    assert detoxifier.revision == "fake-editor@1"
    assert await detoxifier.rewrite([EDIT]) == [Rewrite(text="mild words", detoxifier="fake-editor@1")]


async def test_a_new_revision_of_the_detoxifier_is_taken_on_with_the_first_result_that_names_it() -> None:
    behind = _edits("fake-editor@1")
    detoxifier = await RemoteDetoxifier.connect(
        FakeHandle(behind), connect_timeout_s=LONG_S, timeout_s=LONG_S, calls=CallSettings()
    )
    behind.replica = _edits("fake-editor@2").replica

    assert await detoxifier.rewrite([EDIT]) == [Rewrite(text="mild words", detoxifier="fake-editor@2")]
    assert detoxifier.revision == "fake-editor@2"


class _MllmReplica:
    """A replica of an MLLM of some revision."""

    def __init__(self, revision: str) -> None:
        self._generator = FakeGenerator(revision=revision)

    async def revision(self) -> str:
        return self._generator.revision

    async def generate(self, events: Sequence[ConversationEvent], _remaining_s: float) -> list[Answer | ItemFailure]:
        return await self._generator.generate(events)


async def test_an_mllm_behind_a_handle_answers() -> None:
    generator = await RemoteGenerator.connect(
        FakeHandle(FakeDeployment(_MllmReplica("fake-mllm@1"))),
        connect_timeout_s=LONG_S,
        timeout_s=LONG_S,
        calls=CallSettings(),
    )

    assert generator.revision == "fake-mllm@1"
    answers = await generator.generate([event(None, prompt="One?"), event(None, prompt="Two?")])
    assert answers == [Answer(text="One?", mllm="fake-mllm@1"), Answer(text="Two?", mllm="fake-mllm@1")]


async def test_answers_in_a_rollout_name_the_mllm_that_wrote_them() -> None:
    behind = FakeDeployment(_MllmReplica("fake-mllm@1"))
    generator = await RemoteGenerator.connect(
        FakeHandle(behind), connect_timeout_s=LONG_S, timeout_s=LONG_S, calls=CallSettings()
    )
    behind.replica = _MllmReplica("fake-mllm@2")

    assert await generator.generate([event(None, prompt="One?")]) == [Answer(text="One?", mllm="fake-mllm@2")]
    assert generator.revision == "fake-mllm@2"


async def test_a_conversation_with_large_images_is_a_call_of_its_own() -> None:
    behind = FakeDeployment(_MllmReplica("fake-mllm@1"))
    generator = await RemoteGenerator.connect(
        FakeHandle(behind),
        connect_timeout_s=LONG_S,
        timeout_s=LONG_S,
        calls=CallSettings(max_characters=1_000, max_image_bytes=3_000),
    )
    behind.calls.clear()
    half = f"data:image/png;base64,{'A' * 2_000}"
    answers = await generator.generate([event(None), *[event(None, images=[half])] * 3, event(None)])

    assert texts_of(answers) == ["How do I get home?"] * 5
    assert [len(events) for events, _remaining_s in behind.calls] == [2, 1, 2]


async def connect_reader(behind: FakeDeployment, calls: CallSettings | None = None) -> RemoteImageReader:
    """Connect to an image reader, and forget that call."""
    reader = await RemoteImageReader.connect(
        FakeHandle(behind), connect_timeout_s=LONG_S, timeout_s=LONG_S, calls=calls or CallSettings()
    )
    behind.calls.clear()
    return reader


async def test_an_image_is_a_call_and_readings_come_back_in_order() -> None:
    behind = FakeDeployment(ImageReaderReplica(OpenFakeImageReader))
    reader = await connect_reader(behind, CallSettings(max_image_bytes=20))
    contents = [b"one", b"two", b"three", b"x" * 19, b"x" * 100, POISON.encode()]
    readings = await reader.read(contents)

    assert [reading.text if isinstance(reading, ImageReading) else reading.error for reading in readings] == [
        *("one", "two", "three", "x" * 19, "x" * 100),
        "CorruptImage",
    ]
    assert [images for images, _remaining_s in behind.calls] == [[content] for content in contents]
    assert reader.revision == "fake-reader@1"


async def test_a_reader_that_cannot_be_reached_is_no_fault_of_the_image() -> None:
    behind = FakeDeployment(ImageReaderReplica(OpenFakeImageReader))
    reader = await RemoteImageReader.connect(
        FakeHandle(behind), connect_timeout_s=LONG_S, timeout_s=0.01, calls=CallSettings()
    )
    behind.failures = [ReplicaUnavailableError("r")] * 100
    with pytest.raises(ModelUnavailableError) as caught:
        await reader.read([b"one"])
    assert not isinstance(caught.value, SuspectBatchError)


async def test_a_new_revision_of_the_image_reader_is_taken_on_with_the_first_result_that_names_it() -> None:
    behind = FakeDeployment(ImageReaderReplica(OpenFakeImageReader))
    reader = await connect_reader(behind)
    behind.replica = ImageReaderReplica(lambda: OpenFakeImageReader(revision="fake-reader@2"))

    (reading,) = await reader.read([b"one"])
    assert isinstance(reading, ImageReading)
    assert reading.reader == reader.revision == "fake-reader@2"
