"""The shells that Ray Serve runs, without Ray Serve."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence

import pytest

from protector_models.detoxification.detoxifier import ModelDetoxifier
from protector_models.mllms.mllm import load_mllm
from protector_models.mllms.settings import MllmSettings
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.errors import ModelUnavailableError
from protector_models.moderation.fakes import FakeTextEditor
from protector_models.moderation.images import ImageReading
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.moderation.ports import Answer, RewriteRequest, Span
from protector_models.moderation.verdict import RewriteMethod
from services.deployments.replicas import DetectorReplica, DetoxifierReplica, ImageReaderReplica, MllmReplica
from services.deployments.solitude import OccupiedError
from tests.builders import event, exchange
from tests.protector_models.endpoints.chat_server import answer, open_chat_server
from tests.protector_models.open_detoxifier import OpenFakeDetoxifier
from tests.protector_models.open_image_reader import OpenFakeImageReader
from tests.protector_models.synchronous_detector import BlockedDetector, PlainDetector, load_threaded


class RecordingDetector(PlainDetector):
    """Remembers what it scored; breaks when told."""

    def __init__(self) -> None:
        self.batches: list[list[Exchange]] = []
        self.broken = False

    def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        self.batches.append(list(exchanges))
        if self.broken:
            return [ItemFailure(error="NotFiniteScore", message="not a number") for _ in exchanges]
        return super().assess(exchanges)


@pytest.fixture
def model() -> RecordingDetector:
    return RecordingDetector()


@pytest.fixture
def blocked() -> Iterator[BlockedDetector]:
    model = BlockedDetector()
    yield model
    model.released.set()


def test_a_detector_has_scored_texts_of_several_lengths_before_it_is_ready(model: RecordingDetector) -> None:
    DetectorReplica(lambda: load_threaded(model))

    lengths = {len(warm_up.response) for warm_up in model.batches[0]}
    assert len(lengths) == len(model.batches[0]) > 1


def test_a_detector_that_cannot_score_does_not_get_ready(model: RecordingDetector) -> None:
    model.broken = True

    with pytest.raises(ModelUnavailableError, match="NotFiniteScore"):
        DetectorReplica(lambda: load_threaded(model))


async def test_a_health_check_runs_the_model(model: RecordingDetector) -> None:
    replica = DetectorReplica(lambda: load_threaded(model))
    model.batches.clear()
    await replica.check_health()

    assert len(model.batches) == 1


async def test_a_health_check_fails_where_the_model_gives_no_finite_score(model: RecordingDetector) -> None:
    replica = DetectorReplica(lambda: load_threaded(model))
    model.broken = True

    with pytest.raises(ModelUnavailableError, match="NotFiniteScore"):
        await replica.check_health()


async def test_a_call_whose_caller_has_stopped_waiting_is_refused(model: RecordingDetector) -> None:
    replica = DetectorReplica(lambda: load_threaded(model))
    model.batches.clear()

    with pytest.raises(ModelUnavailableError, match="deadline had passed"):
        await replica.assess([exchange()], -0.1)
    assert model.batches == []


async def test_a_call_ends_when_its_caller_stops_waiting(blocked: BlockedDetector) -> None:
    blocked.released.set()
    replica = DetectorReplica(lambda: load_threaded(blocked))
    blocked.released.clear()

    with pytest.raises(ModelUnavailableError, match=r"no result within 0\.05 s"):
        await replica.assess([exchange()], 0.05)


async def test_a_replica_that_still_computes_a_late_call_takes_no_other(blocked: BlockedDetector) -> None:
    blocked.released.set()
    replica = DetectorReplica(lambda: load_threaded(blocked))
    blocked.released.clear()
    with pytest.raises(ModelUnavailableError, match="no result"):
        await replica.assess([exchange()], 0.05)
    for alone in (False, True):
        with pytest.raises(OccupiedError):
            await replica.assess([exchange()], 60.0, alone=alone)
    blocked.released.set()
    while True:
        with contextlib.suppress(OccupiedError):
            assert len(await replica.assess([exchange()], 60.0, alone=True)) == 1
            break
        await asyncio.sleep(0.01)


def _request(response: str) -> RewriteRequest:
    return RewriteRequest(
        exchange=exchange(response),
        method=RewriteMethod.EDIT,
        spans=(Span(start=0, end=len(response)),),
        category=None,
    )


def _load(editor: FakeTextEditor) -> Callable[[], ModelDetoxifier]:
    return lambda: ModelDetoxifier(editor=editor, generator=None, timeout_s=60.0)


async def test_a_detoxifier_has_edited_texts_of_several_lengths_before_it_is_ready_and_then_rewrites() -> None:
    editor = FakeTextEditor()
    replica = DetoxifierReplica(_load(editor))
    warmed_up = {len(text) for text in editor.edited}
    (rewrite,) = await replica.rewrite([_request("harm=0.9 words")], 60.0)

    assert len(warmed_up) > 1
    assert not isinstance(rewrite, ItemFailure)
    assert (rewrite.text, await replica.revision()) == ("mild words", "fake-editor@1")


async def test_a_health_check_of_a_detoxifier_runs_the_edit_model() -> None:
    editor = FakeTextEditor()
    replica = DetoxifierReplica(_load(editor))
    editor.edited.clear()
    await replica.check_health()

    assert len(editor.edited) == 1


async def test_a_detoxifier_whose_edit_model_is_broken_is_neither_ready_nor_healthy() -> None:
    class Breakable(FakeTextEditor):
        broken = True

        def edit(self, texts: Sequence[str]) -> list[str | ItemFailure]:
            failure = ItemFailure(error="NotFiniteScore", message="not a number")
            return [failure for _ in texts] if self.broken else super().edit(texts)

    editor = Breakable()
    with pytest.raises(ModelUnavailableError, match="NotFiniteScore"):
        DetoxifierReplica(_load(editor))
    editor.broken = False
    replica = DetoxifierReplica(_load(editor))
    editor.broken = True
    with pytest.raises(ModelUnavailableError, match="NotFiniteScore"):
        await replica.check_health()
    await replica.close()


async def test_a_health_check_does_not_run_a_generative_model() -> None:
    generator = OpenFakeDetoxifier()
    replica = DetoxifierReplica(lambda: ModelDetoxifier(editor=None, generator=generator, timeout_s=60.0))
    await replica.check_health()
    await replica.close()

    assert generator.requested == []
    assert generator.is_closed


async def test_a_call_to_a_detoxifier_whose_caller_has_stopped_waiting_is_refused() -> None:
    editor = FakeTextEditor()
    replica = DetoxifierReplica(_load(editor))
    editor.edited.clear()

    with pytest.raises(ModelUnavailableError, match="deadline had passed"):
        await replica.rewrite([_request("harm=0.9 words")], -0.1)
    assert editor.edited == []


async def test_an_mllm_answers_through_its_endpoint() -> None:
    async with open_chat_server(lambda _number, _body: answer("Hello.")) as server:
        settings = MllmSettings(kind="openai", base_url=server.base_url, model="llava")
        replica = MllmReplica(lambda: load_mllm(settings, num_threads=1, timeout_s=60.0))
        await replica.check_health()
        answers = await replica.generate([event(None)], 60.0)
        await replica.close()

    revision = await replica.revision()
    assert revision.startswith("llava@")
    assert answers == [Answer(text="Hello.", mllm=revision)]


async def test_an_image_reader_reads_under_the_deadline_of_its_caller_and_is_closed() -> None:
    reader = OpenFakeImageReader()
    replica = ImageReaderReplica(lambda: reader)
    (reading,) = await replica.read([b"a sign"], 60.0)
    with pytest.raises(ModelUnavailableError, match="deadline had passed"):
        await replica.read([b"another"], -0.1)
    await replica.close()

    assert isinstance(reading, ImageReading)
    assert (reading.text, await replica.revision()) == ("a sign", "fake-reader@1")
    assert reader.read_contents == [b"a sign"]
    assert reader.is_closed


async def test_a_health_check_of_an_image_reader_reads_an_image() -> None:
    reader = OpenFakeImageReader()
    replica = ImageReaderReplica(lambda: reader)
    await replica.check_health()
    assert len(reader.read_contents) == 1
    reader.unavailable = True
    with pytest.raises(ModelUnavailableError):
        await replica.check_health()
