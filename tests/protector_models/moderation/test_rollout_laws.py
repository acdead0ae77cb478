"""Laws of the Moderator while models are replaced: nothing is thrown away, verdicts name who made what is in them."""

import re
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from protector_models.moderation.conversation import ConversationEvent, Exchange
from protector_models.moderation.fakes import (
    POISON,
    FakeDetoxifier,
    FakeGenerator,
    FakeHarmDetector,
    FakeImageReader,
    FakeImageSource,
)
from protector_models.moderation.images import ImageReading
from protector_models.moderation.model_outputs import Assessment, ItemFailure, Rewrite
from protector_models.moderation.ports import Answer, RewriteRequest
from protector_models.moderation.verdict import Action, Outcome, Verdict
from tests.builders import event, policy
from tests.protector_models.moderation.rig import apart_from_cached, build_rig, verdicts
from tests.protector_models.moderation.schedule import (
    Schedule,
    ScheduledCache,
    ScheduledDetector,
    ScheduledDetoxifier,
    ScheduledGenerator,
    ScheduledReader,
    ScheduledSource,
)
from tests.protector_models.moderation.test_moderator_laws import CONTENTS, POLICY, events

batches = st.lists(events, min_size=1, max_size=5)


class ReplacedDetector(FakeHarmDetector):
    """Is replaced by another revision once it has answered a number of calls."""

    def __init__(self, *, after: int) -> None:
        super().__init__()
        self._calls_left = after

    async def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        """Score, and be replaced."""
        outcomes = await super().assess(exchanges)
        self._calls_left -= 1
        if self._calls_left == 0:
            self.revision = "fake-detector@2"
        return outcomes


class ReplacedDetoxifier(FakeDetoxifier):
    """Writes something harmful, and is replaced by a revision that does not."""

    async def rewrite(self, requests: Sequence[RewriteRequest]) -> list[Rewrite | ItemFailure]:
        """Write, and be replaced."""
        outcomes = await super().rewrite(requests)
        self.revision = "fake-detoxifier@2"
        return outcomes


class ReplacedGenerator(FakeGenerator):
    """Is replaced once it has answered."""

    async def generate(self, events: Sequence[ConversationEvent]) -> list[Answer | ItemFailure]:
        """Answer, and be replaced."""
        answers = await super().generate(events)
        self.revision = "fake-mllm@2"
        return answers


def _harmful_at_first(request: RewriteRequest) -> str:
    return f"harm={0.2 if request.attempt else 0.7} attempt {request.attempt}"


async def test_a_verdict_names_the_detector_that_assessed_and_not_its_successor() -> None:
    rig = build_rig(detector=ReplacedDetector(after=1))
    (verdict,) = verdicts(await rig.moderator.moderate([event()]))
    assert verdict.assessment is not None
    assert verdict.model_revisions["detector"] == verdict.assessment.detector == "fake-detector@1"


async def test_where_the_detector_failed_the_verdict_names_the_one_that_was_asked() -> None:
    rig = build_rig(policy=policy(on_failure=Action.REVIEW), detector=ReplacedDetector(after=1))
    (verdict,) = verdicts(await rig.moderator.moderate([event(POISON)]))
    assert verdict.assessment is None
    assert verdict.model_revisions["detector"] == "fake-detector@1"


async def test_a_rewrite_may_be_read_by_the_successor_and_the_verdict_names_both() -> None:
    rig = build_rig(detector=ReplacedDetector(after=1), detoxifier=FakeDetoxifier())
    (verdict,) = verdicts(await rig.moderator.moderate([event("harm=0.9")]))
    assert verdict.assessment is not None
    assert verdict.rewrite_assessment is not None
    assert verdict.assessment.detector == "fake-detector@1"
    assert verdict.rewrite_assessment.detector == "fake-detector@2"
    assert verdict.model_revisions["detector"] == "fake-detector@1, fake-detector@2"


async def test_a_verdict_names_the_detoxifier_that_wrote_what_is_delivered() -> None:
    detoxifier = ReplacedDetoxifier(_harmful_at_first)
    rig = build_rig(detoxifier=detoxifier)
    (verdict,) = verdicts(await rig.moderator.moderate([event("harm=0.9")]))
    assert len(detoxifier.requested) == 2
    assert verdict.model_revisions["detoxifier"] == "fake-detoxifier@2"


async def test_a_verdict_names_the_mllm_that_answered_and_not_its_successor() -> None:
    rig = build_rig(generator=ReplacedGenerator())
    (verdict,) = verdicts(await rig.moderator.moderate([event(None)]))
    assert verdict.model_revisions["mllm"] == "fake-mllm@1"


async def test_images_of_a_conversation_may_be_read_by_two_readers_and_the_verdict_names_both() -> None:
    class ReplacedReader(FakeImageReader):
        async def read(self, contents: Sequence[bytes]) -> list[ImageReading | ItemFailure]:
            outcomes = await super().read(contents)
            if len(self.read_contents) == 32:
                self.revision = "fake-reader@2"
            return outcomes

    contents = {f"picture-{number}": f"picture {number}".encode() for number in range(40)}
    rig = build_rig(image_source=FakeImageSource(contents), image_reader=ReplacedReader(), max_images=40)
    (verdict,) = verdicts(await rig.moderator.moderate([event(images=list(contents))]))
    assert verdict.model_revisions["images"] == "fake-reader@1, fake-reader@2"


class _Stage:
    """A Moderator in which everything waits for its turn, with its models at hand."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        detector, detoxifier = ScheduledDetector(schedule), ScheduledDetoxifier(schedule, _harmful_at_first)
        generator, reader = ScheduledGenerator(schedule), ScheduledReader(schedule)
        self._models = (detector, detoxifier, generator, reader)
        self.moderator = build_rig(
            policy=POLICY,
            detector=detector,
            detoxifier=detoxifier,
            generator=generator,
            cache=ScheduledCache(schedule, max_entries=1_000),
            image_source=ScheduledSource(schedule, CONTENTS),
            image_reader=reader,
            max_images=3,
        ).moderator

    def replace(self, number: int) -> None:
        """Put another revision in a model's place."""
        self._models[number].revision = self._models[number].revision.replace("@1", "@2")

    async def replace_after(self, turns: int, number: int) -> list[Outcome]:
        """Put another revision in a model's place once a number of turns have passed."""
        for _ in range(turns):
            await self.schedule.turn()
        self.replace(number)
        return []

    async def moderate(self, batch: list[ConversationEvent]) -> list[Outcome]:
        """Moderate a batch, once."""
        return await self.moderator.moderate(batch)


def _names_its_models(verdict: Verdict) -> bool:
    """Tell whether a verdict's detectors are those that the assessments in it name."""
    outputs = [verdict.assessment, verdict.rewrite_assessment]
    named = dict.fromkeys(output.detector for output in outputs if output is not None)
    return not named or ", ".join(named) == verdict.model_revisions["detector"]


def _as_of_one_revision(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the bytes of outcomes, the successor of each model named as the model itself."""
    found = [outcome.replace("@2", "@1") for outcome in apart_from_cached(outcomes)]
    return [re.sub(r"(\"fake-\w+@1), fake-\w+@1", r"\1", outcome) for outcome in found]


@given(batches, batches, st.lists(st.integers(0, 7), max_size=40), st.integers(0, 8), st.integers(0, 3))
async def test_in_a_rollout_every_batch_is_decided_at_once_and_verdicts_name_who_made_what_is_in_them(
    left: list[ConversationEvent], right: list[ConversationEvent], choices: list[int], turns: int, number: int
) -> None:
    stage = _Stage(Schedule(choices))
    *found, _ = await stage.schedule.run(
        stage.moderate(left), stage.moderate(right), stage.replace_after(turns, number)
    )
    before = _Stage(Schedule([]))
    for batch, outcomes in zip((left, right), found, strict=True):
        (expected,) = await before.schedule.run(before.moderate(batch))
        assert _as_of_one_revision(outcomes) == _as_of_one_revision(expected)
        assert all(_names_its_models(outcome) for outcome in outcomes if isinstance(outcome, Verdict))
