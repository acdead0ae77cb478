"""Texts through the Moderator, or straight through the edit model, over fakes."""

from collections.abc import Mapping, Sequence

import pytest

from pipelines.commands.rewritten import allow_only, edit_texts, moderate_texts
from protector_models.detoxification.broken_sentences import BROKEN_SENTENCE
from protector_models.detoxification.detoxifier import ModelDetoxifier
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.fakes import POISON, FakeHarmDetector, FakeTextEditor, RecordedMetrics
from protector_models.moderation.memory_cache import MemoryVerdictCache
from protector_models.moderation.model_outputs import ItemFailure
from protector_models.moderation.moderator import Moderator
from protector_models.moderation.policy.policy import TenantOverrides
from protector_models.moderation.verdict import Action, RewriteMethod
from tests import builders

TEXTS: Mapping[str, str] = {
    "fine": "Take the bus.",
    "edited": "You harm=0.9 driver.",
    "nothing left": "harm=0.9",
    "still harmful": "You harm=0.9 driver, stays",
    "no score": f"{POISON} bus",
    "empty": "",
}


def _edit(text: str) -> str:
    return text.replace("harm=0.9", "harm=0.7" if "stays" in text else "").strip()


async def test_the_edit_model_has_every_text_and_what_it_made_is_delivered_only_if_the_rules_allow_it() -> None:
    detoxifier = ModelDetoxifier(editor=FakeTextEditor(_edit), generator=None, timeout_s=10)
    found = await edit_texts(
        FakeHarmDetector(), detoxifier, builders.policy(), list(TEXTS.values()), prompt="How do I get home?"
    )
    rewritten = dict(zip(TEXTS, found, strict=True))
    await detoxifier.close()
    assert [one.before for one in found] == list(TEXTS.values())
    actions = {name: (one.action, one.after, one.refused_reason) for name, one in rewritten.items()}
    assert actions == {
        "fine": (Action.ALLOW, "Take the bus.", "NothingToEdit"),
        "edited": (Action.REWRITE, "You  driver.", None),
        "nothing left": (Action.REVIEW, None, "EmptyRewrite"),
        "still harmful": (Action.REVIEW, None, "StillHarmful"),
        "no score": (None, None, None),
        "empty": (Action.ALLOW, "", "NothingToEdit"),
    }
    assert rewritten["still harmful"].refused == "You harm=0.7 driver, stays"
    assert [one.error is not None for one in found] == [name == "no score" for name in TEXTS]
    scores = [
        one and one.harmfulness for one in (rewritten["edited"].assessment, rewritten["edited"].rewrite_assessment)
    ]
    assert scores == [0.9, 0.0]


class BreakingEditor(FakeTextEditor):
    def edit(self, texts: Sequence[str]) -> list[str | ItemFailure]:
        return [ItemFailure(error=BROKEN_SENTENCE, message="expected whole sentences") for _ in texts]


async def test_where_no_edit_leaves_a_sentence_whole_the_text_stays_or_nothing_is_delivered_and_it_says_why() -> None:
    detoxifier = ModelDetoxifier(editor=BreakingEditor(), generator=None, timeout_s=10)
    texts = ["Take the bus.", "You harm=0.9 driver."]
    found = await edit_texts(FakeHarmDetector(), detoxifier, builders.policy(), texts, prompt="How do I get home?")
    await detoxifier.close()
    assert [(one.action, one.after, one.refused_reason) for one in found] == [
        (Action.ALLOW, texts[0], BROKEN_SENTENCE),
        (Action.REVIEW, None, BROKEN_SENTENCE),
    ]


async def test_a_text_takes_the_path_of_an_event_of_its_tenant() -> None:
    policy = builders.policy(tenants={"strict": TenantOverrides(safe_completions={"default": "No."})})
    moderator = Moderator(
        policy=policy,
        detector=FakeHarmDetector(),
        cache=MemoryVerdictCache(max_entries=10),
        metrics=RecordedMetrics(),
    )
    texts = ["fine", "harm=0.9", POISON]
    for tenant, delivered in (("default", builders.SAFE_TEXT), ("strict", "No.")):
        found = await moderate_texts(moderator, texts, prompt="", tenant=tenant)
        assert [(one.action, one.after, one.method) for one in found] == [
            (Action.ALLOW, "fine", None),
            (Action.REWRITE, delivered, RewriteMethod.COMPLETE),
            (None, None, None),
        ]
        assert [one.error is None for one in found] == [True, True, False]


@pytest.mark.parametrize("method", RewriteMethod)
def test_one_method_is_left_for_every_category_and_tenant(method: RewriteMethod) -> None:
    both = (RewriteMethod.EDIT, RewriteMethod.COMPLETE)
    own = TenantOverrides(rewrite_methods={"hate": both}, shadow=True)
    policy = builders.policy(rewrite_methods={"default": both, "hate": both}, tenants={"t": own})
    if method is RewriteMethod.OMIT:
        with pytest.raises(ConfigurationError, match="omissions"):
            allow_only(policy, method)
        policy = builders.policy(omissions={"default": "(Left out.)"}, tenants={"t": own})
    changed = allow_only(policy, method)
    expected = (method,) if method is RewriteMethod.COMPLETE else (method, RewriteMethod.COMPLETE)
    for tenant in ("t", "another"):
        for category in ("hate", "illicit", None):
            assert changed.for_tenant(tenant).methods(category) == expected
    assert changed.for_tenant("t").shadow
