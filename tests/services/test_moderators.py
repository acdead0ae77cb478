"""A Moderator put together."""

from base64 import b64encode
from pathlib import Path

import pytest

from pipelines.settings import WeirSettings
from protector_models.moderation.fakes import FakeGenerator, FakeHarmDetector, FakeImageReader, RecordedMetrics
from protector_models.moderation.memory_cache import MemoryVerdictCache
from protector_models.moderation.verdict import Action, Verdict
from services.model_ports import ModelPorts
from services.moderators import in_process_moderator, open_moderator
from services.policies_in_force import load_policy_in_force
from tests.builders import event


@pytest.mark.shipped
async def test_what_stands_in_a_picture_is_read_and_judged_in_one_process() -> None:
    picture = (Path(__file__).parents[1] / "images" / "figstep_evading_taxes.png").read_bytes()
    asked = event("I cannot help.", images=[f"data:image/png;base64,{b64encode(picture).decode()}", "file:///a.png"])
    settings, metrics = WeirSettings(), RecordedMetrics()
    cache = MemoryVerdictCache(max_entries=100)
    async with in_process_moderator(settings, load_policy_in_force(settings), metrics, cache) as moderator:
        first, again = [(await moderator.moderate([asked]))[0] for _ in range(2)]
    assert isinstance(first, Verdict)
    assert isinstance(again, Verdict)
    assert [image.reason for image in first.images] == [None, "ReferenceNotAllowed"]
    assert first.assessment is not None
    assert first.assessment.coverage.images_evaluated == 1
    assert first.action is Action.REVIEW
    assert again == first.model_copy(update={"cached": True})


async def test_it_asks_the_models_that_it_is_given_and_names_them() -> None:
    models = ModelPorts(detector=FakeHarmDetector(), generator=FakeGenerator(), image_reader=FakeImageReader())
    settings, cache = WeirSettings(), MemoryVerdictCache(max_entries=0)
    policy = load_policy_in_force(settings)
    async with open_moderator(settings, policy, RecordedMetrics(), cache, models) as moderator:
        (verdict,) = await moderator.moderate([event(None, prompt="harm=0.1")])
    assert isinstance(verdict, Verdict)
    revisions = {name: model.revision for name, model in models.by_name().items() if model is not None}
    assert revisions.keys() == {"detector", "images", "mllm"}
    assert verdict.model_revisions.items() <= revisions.items()
    assert {"detector", "mllm"} <= verdict.model_revisions.keys()
