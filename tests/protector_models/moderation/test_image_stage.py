"""Images through the Moderator: each is fetched once, read once, and ends as read or as unread with a reason."""

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.errors import IncompleteError, ModelUnavailableError
from protector_models.moderation.fakes import (
    POISON,
    FakeGenerator,
    FakeImageReader,
    FakeImageSource,
)
from protector_models.moderation.images import ImageReading
from protector_models.moderation.model_outputs import ItemFailure
from protector_models.moderation.policy.image_rules import ImageRule
from protector_models.moderation.policy.policy import Policy
from protector_models.moderation.ports import Answer
from protector_models.moderation.stages import Stage, StageStatus
from protector_models.moderation.verdict import Action, Failure, ImageFinding, ImageStatus, Verdict
from protector_models.policies.policy_file import load_policy
from tests.builders import assistant, event, exchange, policy, unread, user
from tests.protector_models.moderation.rig import Rig, build_rig, verdicts

CONTENTS = {
    "sign": b"a sign",
    "same": b"a sign",
    "blank": b"",
    "weapon": b"image=0.9:weapons",
    "known": b"known=cat",
    "damaged": f"{POISON} pill".encode(),
    **{f"picture-{number}": f"picture {number}".encode() for number in range(100)},
}
references = st.sampled_from(["sign", "same", "blank", "weapon", "known", "damaged", "lost"])
events = st.builds(
    event,
    st.sampled_from(["Take the bus.", "harm=0.9", None]),
    images=st.lists(references, max_size=5),
)
batches = st.lists(events, max_size=6)


class RecordingGenerator(FakeGenerator):
    """Remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[ConversationEvent] = []

    async def generate(self, events: Sequence[ConversationEvent]) -> list[Answer | ItemFailure]:
        """Echo the last message of each conversation."""
        self.shown.extend(events)
        return await super().generate(events)


def _rig(
    *,
    policy: Policy | None = None,
    source: FakeImageSource | None = None,
    reader: FakeImageReader | None = None,
    generator: FakeGenerator | None = None,
    max_images: int = 100,
) -> Rig:
    return build_rig(
        policy=policy,
        generator=generator,
        image_source=source or FakeImageSource(CONTENTS),
        image_reader=reader or FakeImageReader(),
        max_images=max_images,
    )


def _texts_seen(rig: Rig) -> list[str | None]:
    return [image.text for image in rig.detector.assessed[0].images]


async def test_the_detector_judges_what_stands_in_the_images() -> None:
    rig = _rig()
    await rig.moderator.moderate([event("x", prompt="Why?", images=["sign", "lost", "blank"])])
    assert rig.detector.assessed == [exchange("x", prompt="Why?", images=["a sign", unread("FetchFailed"), ""])]


async def test_a_verdict_says_what_became_of_each_image_but_not_what_stands_in_it() -> None:
    rig = _rig()
    [verdict] = verdicts(await rig.moderator.moderate([event(images=["sign", "lost", "damaged", "weapon", "known"])]))
    sign, lost, damaged, weapon, known = verdict.images
    assert sign == ImageFinding(
        status=ImageStatus.READ,
        sha256="e926c6ef0019ed48dc60cc38eaec812778ba541959bfb4757897e1ce4b7db64b",
        perceptual_hash="e926c6ef0019ed48",
        text_characters=6,
    )
    assert lost == ImageFinding(status=ImageStatus.UNREAD, reason="FetchFailed")
    assert (damaged.status, damaged.reason) == (ImageStatus.UNREAD, "CorruptImage")
    assert damaged.sha256 is not None
    assert weapon.categories == {"weapons": 0.9}
    assert known.known_as == "cat"
    assert verdict.evaluation_status.images is StageStatus.PARTIAL
    assert verdict.model_revisions["images"] == "fake-reader@1"
    assert verdict.assessment is not None
    assert [(image.position, image.reason) for image in verdict.assessment.coverage.unread_images] == [
        (1, "FetchFailed"),
        (2, "CorruptImage"),
    ]
    assert "a sign" not in verdict.model_dump_json()


@pytest.mark.parametrize(
    ("images", "status"),
    [
        ([], StageStatus.SKIPPED),
        (["sign"], StageStatus.COMPLETE),
        (["sign", "lost"], StageStatus.PARTIAL),
        (["lost"], StageStatus.FAILED),
    ],
)
async def test_a_verdict_says_how_far_reading_the_images_got(images: list[str], status: StageStatus) -> None:
    [verdict] = verdicts(await _rig().moderator.moderate([event(images=images)]))
    assert verdict.evaluation_status.images is status


async def test_identical_images_are_fetched_once_and_read_once_whatever_their_references() -> None:
    source, reader = FakeImageSource(CONTENTS), FakeImageReader()
    rig = _rig(source=source, reader=reader)
    await rig.moderator.moderate([event(images=["sign", "sign", "same"]), event("Walk.", images=["same"])])
    assert source.fetched == ["sign", "same"]
    assert reader.read_contents == [b"a sign"]
    assert (await rig.moderator.moderate([event("Run.", images=["same"])]))[0]
    assert reader.read_contents == [b"a sign"]


@pytest.mark.parametrize("name", ["sign", "damaged", "lost"])
async def test_only_what_was_read_is_stored(name: str) -> None:
    reader = FakeImageReader()
    rig = _rig(reader=reader)
    first, again = [verdicts(await rig.moderator.moderate([event(images=[name])]))[0] for _ in range(2)]
    assert len(reader.read_contents) == {"sign": 1, "damaged": 2, "lost": 0}[name]
    assert not first.cached
    # An image that was never had is no output of a model.
    assert again.cached is (name != "damaged")


class LateReader(FakeImageReader):
    """Is late with one image, as long as it is told to."""

    late: bytes | None = None

    async def read(self, contents: Sequence[bytes]) -> list[ImageReading | ItemFailure]:
        if self.late not in contents:
            return await super().read(contents)
        others = iter(await super().read([content for content in contents if content != self.late]))
        late = ModelUnavailableError("late")
        raise IncompleteError(late, [None if content == self.late else next(others) for content in contents])


async def test_a_batch_that_is_tried_again_because_of_one_image_does_not_read_the_others_again() -> None:
    reader = LateReader()
    rig = _rig(reader=reader)
    batch = [event(images=["sign", "damaged", "picture-1"]), event(images=["picture-2"])]
    reader.late = CONTENTS["picture-1"]
    for _ in range(2):
        with pytest.raises(IncompleteError):
            await rig.moderator.moderate(batch)
    reader.late = None
    first, _ = verdicts(await rig.moderator.moderate(batch))
    assert [image.reason for image in first.images] == [None, "CorruptImage", None]
    assert Counter(reader.read_contents) == {
        CONTENTS[name]: 1 for name in ("sign", "damaged", "picture-1", "picture-2")
    }
    # The batch has come to its end: what failed is tried again in the next one.
    await rig.moderator.moderate(batch)
    assert Counter(reader.read_contents)[CONTENTS["damaged"]] == 2


async def test_what_a_reader_of_a_new_revision_read_is_not_kept_under_the_old_one() -> None:
    class Rolling(FakeImageReader):
        async def read(self, contents: Sequence[bytes]) -> list[ImageReading | ItemFailure]:
            self.revision = "fake-reader@2"
            return await super().read(contents)

    reader = Rolling()
    rig = _rig(reader=reader)
    for cached in (False, True):
        [verdict] = verdicts(await rig.moderator.moderate([event(images=["sign"])]))
        assert verdict.model_revisions["images"] == "fake-reader@2"
        assert verdict.cached is cached
    assert len(reader.read_contents) == 1


async def test_a_reader_of_another_revision_reads_again() -> None:
    reader = FakeImageReader()
    rig = _rig(reader=reader)
    await rig.moderator.moderate([event(images=["sign"])])
    reader.revision = "fake-reader@2"
    [verdict] = verdicts(await rig.moderator.moderate([event(images=["sign"])]))
    assert len(reader.read_contents) == 2
    assert verdict.model_revisions["images"] == "fake-reader@2"


async def test_a_hundred_images_are_seen_in_their_order() -> None:
    rig = _rig()
    [verdict] = verdicts(await rig.moderator.moderate([event(images=[f"picture-{n}" for n in range(99, -1, -1)])]))
    assert _texts_seen(rig) == [f"picture {n}" for n in range(99, -1, -1)]
    assert len({image.sha256 for image in verdict.images}) == 100


async def test_of_too_many_images_the_last_ones_are_looked_at() -> None:
    source = FakeImageSource(CONTENTS)
    rig = _rig(source=source, max_images=2)
    conversation = [user(images=["picture-1", "picture-2"]), assistant(), user(images=["picture-3"])]
    [verdict] = verdicts(await rig.moderator.moderate([event(messages=conversation)]))
    assert [image.reason for image in verdict.images] == ["TooManyImages", None, None]
    assert _texts_seen(rig) == [None, "picture 2", "picture 3"]
    assert source.fetched == ["picture-2", "picture-3"]
    assert verdict.action is Action.REVIEW


async def test_an_mllm_gets_the_bytes_that_were_read() -> None:
    generator, source = RecordingGenerator(), FakeImageSource(CONTENTS)
    rig = _rig(source=source, generator=generator)
    await rig.moderator.moderate([event(None, images=["sign", "blank", "sign"]), event(images=["known"])])
    [shown] = generator.shown
    sign = "data:image/png;base64,YSBzaWdu"
    assert shown.image_references() == (sign, "data:image/png;base64,", sign)
    assert source.fetched == ["sign", "blank", "known"]


@pytest.mark.parametrize(
    ("images", "error", "said"),
    [
        (["sign", "lost"], "FetchFailed", "image 2 of 2: the fake source has no such image"),
        (["damaged"], "CorruptImage", "image 1 of 1: the image holds the word that fakes refuse"),
        (["sign"] * 4, "TooManyImages", "image 1 of 4: 4 images; expected at most 3 in one conversation"),
    ],
)
async def test_an_mllm_is_not_asked_where_an_image_is_missing(images: list[str], error: str, said: str) -> None:
    generator = RecordingGenerator()
    rig = _rig(generator=generator, max_images=3)
    [failure, neighbour] = await rig.moderator.moderate([event(None, images=images), event(None)])
    assert failure == Failure(stage=Stage.IMAGES, error=error, message=said)
    assert isinstance(neighbour, Verdict)
    assert generator.shown == [event(None)]


async def test_without_a_reader_every_image_is_unread_and_an_mllm_still_sees_it() -> None:
    generator, source = RecordingGenerator(), FakeImageSource(CONTENTS)
    rig = build_rig(generator=generator, image_source=source)
    answered, asked = verdicts(await rig.moderator.moderate([event(images=["lost"]), event(None, images=["damaged"])]))
    assert [image.reason for image in (*answered.images, *asked.images)] == ["ImagesNotRead", "ImagesNotRead"]
    assert answered.action is asked.action is Action.REVIEW
    assert "images" not in asked.model_revisions
    assert source.fetched == ["damaged"]
    assert generator.shown[0].image_references() == ("data:image/png;base64,UE9JU09OIHBpbGw=",)


async def test_without_a_source_an_mllm_gets_the_references_and_no_image_counts_as_read() -> None:
    generator = RecordingGenerator()
    rig = build_rig(generator=generator)
    [verdict] = verdicts(await rig.moderator.moderate([event(None, images=["sign"])]))
    assert generator.shown[0].image_references() == ("sign",)
    assert [image.reason for image in verdict.images] == ["ImagesNotRead"]
    assert verdict.action is Action.REVIEW


async def test_where_the_reader_is_gone_nothing_is_decided() -> None:
    reader, generator = FakeImageReader(), RecordingGenerator()
    reader.unavailable = True
    rig = _rig(reader=reader, generator=generator)
    with pytest.raises(ModelUnavailableError, match="fake reader"):
        await rig.moderator.moderate([event(), event(None, images=["sign"])])
    assert not rig.detector.assessed
    assert not generator.shown
    assert rig.metrics.total("weir_images_total") == 0
    reader.unavailable = False
    assert len(verdicts(await rig.moderator.moderate([event(), event(None, images=["sign"])]))) == 2


async def test_a_known_image_is_blocked_however_harmless_the_response() -> None:
    [verdict] = verdicts(await _rig().moderator.moderate([event(images=["known"])]))
    assert (verdict.action, verdict.response, verdict.category) == (Action.BLOCK, None, None)


async def test_a_known_image_is_blocked_also_where_the_detector_fails_and_failures_pass() -> None:
    rig = _rig(policy=policy(on_failure=Action.ALLOW))
    blocked, reviewed, passed = verdicts(
        await rig.moderator.moderate([event(POISON, images=[name]) for name in ("known", "lost", "sign")])
    )
    assert [verdict.action for verdict in (blocked, reviewed, passed)] == [Action.BLOCK, Action.REVIEW, Action.ALLOW]


@pytest.mark.parametrize("harmful", [True, False])
async def test_a_harmful_response_is_not_delivered_under_review_because_of_an_image(*, harmful: bool) -> None:
    rules = policy(
        deliver_under_review=True,
        on_known_image=Action.REVIEW,
        image_rules=[ImageRule(category="weapons", threshold=0.5, action=Action.REVIEW)],
    )
    response = "harm=0.9" if harmful else "harm=0.1"
    batch = [event(response, images=[name]) for name in ("known", "weapon")]
    for verdict in verdicts(await _rig(policy=rules).moderator.moderate(batch)):
        assert verdict.action is Action.REVIEW
        assert verdict.response == (None if harmful else response)


async def test_a_harmful_response_to_a_known_image_is_not_rewritten() -> None:
    rig = _rig()
    [verdict] = verdicts(await rig.moderator.moderate([event("harm=0.9", images=["known"])]))
    assert (verdict.action, verdict.rewrite_method) == (Action.BLOCK, None)


DEFAULT_POLICY = load_policy(None)


@given(batches)
async def test_nothing_with_an_unread_image_is_allowed_by_the_default_policy(batch: list[ConversationEvent]) -> None:
    rig = _rig(policy=DEFAULT_POLICY, generator=FakeGenerator())
    for outcome in await rig.moderator.moderate(batch):
        if isinstance(outcome, Verdict) and any(image.status is ImageStatus.UNREAD for image in outcome.images):
            assert outcome.action in {Action.REVIEW, Action.BLOCK}
            assert outcome.response is None


@given(batch=batches, reads=st.booleans())
async def test_every_image_ends_as_read_or_as_unread_and_is_counted(
    batch: list[ConversationEvent], *, reads: bool
) -> None:
    source = FakeImageSource(CONTENTS)
    rig = build_rig(image_source=source, image_reader=FakeImageReader() if reads else None)
    outcomes = await rig.moderator.moderate(batch)
    for single, outcome in zip(batch, outcomes, strict=True):
        if isinstance(outcome, Verdict):
            assert len(outcome.images) == len(single.image_references())
            assert all((image.reason is None) == (image.status is ImageStatus.READ) for image in outcome.images)
    num_images = sum(len(single.image_references()) for single in batch)
    assert rig.metrics.total("weir_images_total") == num_images


@given(batches)
async def test_no_reference_is_fetched_twice_and_no_content_is_read_twice(batch: list[ConversationEvent]) -> None:
    source, reader = FakeImageSource(CONTENTS), FakeImageReader()
    await _rig(source=source, reader=reader).moderator.moderate(batch)
    assert max(Counter(source.fetched).values(), default=1) == 1
    assert max(Counter(reader.read_contents).values(), default=1) == 1
