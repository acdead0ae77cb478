"""A Moderator put together from fakes, with its fakes at hand."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from protector_models.moderation.fakes import (
    FakeDetoxifier,
    FakeGenerator,
    FakeHarmDetector,
    FakeImageReader,
    FakeImageSource,
    RecordedMetrics,
)
from protector_models.moderation.memory_cache import MemoryVerdictCache
from protector_models.moderation.moderator import Moderator
from protector_models.moderation.policy.policy import Policy
from protector_models.moderation.ports import SecondOpinion, VerdictCache
from protector_models.moderation.verdict import Outcome, Verdict
from tests.builders import policy as build_policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """What a test needs to see of a Moderator."""

    moderator: Moderator
    detector: FakeHarmDetector
    detoxifier: FakeDetoxifier | None
    metrics: RecordedMetrics


def build_rig(
    *,
    policy: Policy | None = None,
    detector: FakeHarmDetector | None = None,
    detoxifier: FakeDetoxifier | None = None,
    generator: FakeGenerator | None = None,
    second_opinion: SecondOpinion | None = None,
    cache: VerdictCache | None = None,
    image_source: FakeImageSource | None = None,
    image_reader: FakeImageReader | None = None,
    max_images: int = 16,
    name_language: Callable[[str], str | None] | None = None,
    include_original: bool = False,
) -> Rig:
    """Put a Moderator together; without a cache it gets an empty one of its own."""
    detector = detector or FakeHarmDetector()
    metrics = RecordedMetrics()
    moderator = Moderator(
        policy=policy or build_policy(),
        detector=detector,
        cache=cache or MemoryVerdictCache(max_entries=1_000),
        metrics=metrics,
        detoxifier=detoxifier,
        generator=generator,
        second_opinion=second_opinion,
        image_source=image_source,
        image_reader=image_reader,
        max_images=max_images,
        name_language=name_language,
        include_original=include_original,
    )
    return Rig(moderator=moderator, detector=detector, detoxifier=detoxifier, metrics=metrics)


def verdicts(outcomes: Sequence[Outcome]) -> list[Verdict]:
    """Return outcomes that must all be verdicts."""
    found = [outcome for outcome in outcomes if isinstance(outcome, Verdict)]
    assert len(found) == len(outcomes), outcomes
    return found


def apart_from_cached(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the bytes of outcomes, `cached` set to one value everywhere."""
    return [
        (outcome.model_copy(update={"cached": False}) if isinstance(outcome, Verdict) else outcome).model_dump_json()
        for outcome in outcomes
    ]
