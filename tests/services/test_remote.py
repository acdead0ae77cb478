"""The model ports over handles."""

import asyncio
from collections.abc import Sequence

import pytest
from ray.exceptions import ActorDiedError, RayTaskError
from ray.serve.exceptions import BackPressureError, ReplicaUnavailableError

from protector_models.detoxification.detoxifier import ModelDetoxifier
from protector_models.moderation.errors import ModelUnavailableError
from protector_models.moderation.fakes import POISON, FakeGenerator, FakeTextEditor
from protector_models.moderation.images import ImageReading
from protector_models.moderation.ports import RewriteRequest, Span
from protector_models.moderation.verdict import ItemFailure, Rewrite, RewriteMethod
from services.remote import RemoteDetoxifier, RemoteGenerator, RemoteHarmDetector, RemoteImageReader
from services.remote_calls import ask
from services.replicas import DetectorReplica, DetoxifierReplica, ImageReaderReplica
from services.settings import CallSettings
from tests.builders import event, exchange
from tests.protector_models.open_image_reader import OpenFakeImageReader
from tests.protector_models.synchronous_detector import PlainDetector, load_plain, load_threaded
from tests.services.fake_handle import FakeDeployment, FakeHandle

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
    assert 0 < remaining_s <= LONG_S


@pytest.mark.parametrize("gone", [ActorDiedError(), ReplicaUnavailableError("r1")])
async def test_a_call_whose_replica_died_is_made_again(gone: Exception) -> None:
    behind = deployment()
    detector = await connect(behind)
    behind.failures = [gone, gone]

    assert len(await detector.assess([exchange()])) == 1
    assert len(behind.calls) == 3


async def test_replicas_that_keep_dying_are_unavailable() -> None:
    behind = deployment()
    detector = await connect(behind)
    behind.failures = [ActorDiedError() for _ in range(3)]

    with pytest.raises(ModelUnavailableError, match="ActorDiedError") as caught:
        await detector.assess([exchange()])
    assert isinstance(caught.value.__cause__, ActorDiedError)


@pytest.mark.parametrize("refusal", [BackPressureError(9, 8), raised_in_replica(ModelUnavailableError("late"))])
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


async def test_a_deployment_that_is_late_is_unavailable_and_its_call_is_given_up() -> None:
    behind = deployment()
    detector = await connect(behind, timeout_s=0.05)
    behind.hangs = True

    with pytest.raises(ModelUnavailableError, match=r"no result within 0\.0"):
        await detector.assess([exchange()])
    assert behind.cancelled == 1


async def test_one_failed_call_gives_the_others_of_its_batch_up() -> None:
    behind = deployment()
    detector = await connect(behind, calls=CallSettings(max_items=1))
    behind.failures = [BackPressureError(9, 8)]

    with pytest.raises(ModelUnavailableError, match="BackPressureError"):
        await detector.assess([exchange(), exchange(), exchange()])


async def test_a_new_revision_is_taken_on_and_the_batch_must_be_tried_again() -> None:
    behind = deployment()
    detector = await connect(behind)
    model = PlainDetector()
    model.revision = "plain-detector@2"
    behind.replica = DetectorReplica(lambda: load_threaded(model))

    with pytest.raises(ModelUnavailableError, match="from plain-detector@1 to plain-detector@2"):
        await detector.assess([exchange()])
    assert detector.revision == "plain-detector@2"
    assert len(await detector.assess([exchange()])) == 1


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


async def test_a_new_revision_of_the_detoxifier_is_taken_on_and_the_batch_must_be_tried_again() -> None:
    behind = _edits("fake-editor@1")
    detoxifier = await RemoteDetoxifier.connect(
        FakeHandle(behind), connect_timeout_s=LONG_S, timeout_s=LONG_S, calls=CallSettings()
    )
    behind.replica = _edits("fake-editor@2").replica

    with pytest.raises(ModelUnavailableError, match="from fake-editor@1 to fake-editor@2"):
        await detoxifier.rewrite([EDIT])
    assert await detoxifier.rewrite([EDIT]) == [Rewrite(text="mild words", detoxifier="fake-editor@2")]


async def test_an_mllm_behind_a_handle_answers() -> None:
    class GeneratorReplica:
        async def revision(self) -> str:
            return FakeGenerator.revision

        async def generate(self, events: list[object], _remaining_s: float) -> list[str]:
            return [f"answer {number}" for number, _ in enumerate(events)]

    generator = await RemoteGenerator.connect(
        FakeHandle(FakeDeployment(GeneratorReplica())), connect_timeout_s=LONG_S, timeout_s=LONG_S, calls=CallSettings()
    )

    assert generator.revision == "fake-mllm@1"
    assert await generator.generate([event(None), event(None)]) == ["answer 0", "answer 1"]


async def test_a_conversation_with_large_images_is_a_call_of_its_own() -> None:
    class GeneratorReplica:
        async def revision(self) -> str:
            return FakeGenerator.revision

        async def generate(self, events: list[object], _remaining_s: float) -> list[str]:
            return ["An answer."] * len(events)

    behind = FakeDeployment(GeneratorReplica())
    generator = await RemoteGenerator.connect(
        FakeHandle(behind),
        connect_timeout_s=LONG_S,
        timeout_s=LONG_S,
        calls=CallSettings(max_characters=1_000, max_image_bytes=3_000),
    )
    behind.calls.clear()
    half = f"data:image/png;base64,{'A' * 2_000}"
    answers = await generator.generate([event(None), *[event(None, images=[half])] * 3, event(None)])

    assert answers == ["An answer."] * 5
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


class FragileReader(OpenFakeImageReader):
    """The process that reads one of the images dies, and with it what else was asked of it at the time."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[bytes] = []
        self._deaths = 0

    async def read(self, contents: Sequence[bytes]) -> list[ImageReading | ItemFailure]:
        self.asked.extend(contents)
        deaths = self._deaths
        for _ in range(5):
            await asyncio.sleep(0)
        if b"deadly" in contents:
            self._deaths += 1
        if self._deaths > deaths:
            raise ActorDiedError
        return await super().read(contents)


async def test_an_image_that_kills_whoever_reads_it_is_unread_and_those_beside_it_are_read() -> None:
    replica = FragileReader()
    reader = await connect_reader(FakeDeployment(ImageReaderReplica(lambda: replica)))
    first, deadly, last = await reader.read([b"one", b"deadly", b"two"])

    assert [getattr(reading, "text", None) for reading in (first, last)] == ["one", "two"]
    assert isinstance(deadly, ItemFailure)
    assert deadly.error == "TextNotRead"
    assert replica.asked.count(b"deadly") == CallSettings().max_attempts


async def test_a_reader_that_cannot_be_reached_is_no_fault_of_the_image() -> None:
    behind = FakeDeployment(ImageReaderReplica(OpenFakeImageReader))
    reader = await connect_reader(behind, CallSettings(max_attempts=1))
    behind.failures.append(ReplicaUnavailableError("r"))
    with pytest.raises(ModelUnavailableError, match="ReplicaUnavailableError"):
        await reader.read([b"one"])


async def test_a_new_revision_of_the_image_reader_is_taken_on_and_the_batch_must_be_tried_again() -> None:
    behind = FakeDeployment(ImageReaderReplica(OpenFakeImageReader))
    reader = await connect_reader(behind)
    behind.replica = ImageReaderReplica(lambda: OpenFakeImageReader(revision="fake-reader@2"))

    with pytest.raises(ModelUnavailableError, match="from fake-reader@1 to fake-reader@2"):
        await reader.read([b"one"])
    assert len(await reader.read([b"one"])) == 1
