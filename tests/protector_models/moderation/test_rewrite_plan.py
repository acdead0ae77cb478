import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from protector_models.moderation.policy.policy import Policy
from protector_models.moderation.rewrite_plan import Try, plan_tries
from tests.builders import policy

README = Path(__file__).parents[3] / "README.md"


def _plan(*methods: str, attempts: int, has_models: bool = True, category: str | None = "violence") -> list[str]:
    rules = policy(
        rewrite_methods={"default": ["complete"], "violence": [*methods, "complete"]},
        max_rewrite_attempts=attempts,
        omissions={"default": "(Left out.)"},
        safe_completions={"violence": "Let us be gentle."},
    )
    return [_name(trial) for trial in plan_tries(rules, category, has_models=has_models)]


def _name(trial: Try) -> str:
    return f"{trial.method.value}{trial.attempt or ''}"


@pytest.mark.parametrize(
    ("methods", "attempts", "expected"),
    [
        ([], 2, []),
        (["edit", "omit"], 2, ["edit", "omit"]),
        (["edit", "omit"], 9, ["edit", "omit"]),
        (["generate"], 1, ["generate"]),
        (["generate"], 3, ["generate", "generate1", "generate2"]),
        (["edit", "generate"], 3, ["edit", "generate", "generate1"]),
        (["generate", "omit"], 4, ["generate", "omit"]),
        (["edit", "omit", "generate"], 3, ["edit", "omit", "generate"]),
    ],
)
def test_methods_are_tried_in_order_and_a_generative_one_at_the_end_again(
    methods: list[str], attempts: int, expected: list[str]
) -> None:
    assert _plan(*methods, attempts=attempts) == [*expected, "complete", "complete1"]


def test_without_models_only_what_needs_none_is_tried() -> None:
    assert _plan("edit", "omit", "generate", attempts=3, has_models=False) == ["omit", "complete", "complete1"]
    assert _plan("edit", "generate", attempts=3, has_models=False) == ["complete", "complete1"]


@pytest.mark.parametrize("category", [None, "hate"])
def test_a_category_without_methods_and_a_text_of_its_own_has_the_default_ones(category: str | None) -> None:
    assert _plan("edit", attempts=2, category=category) == ["complete"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"rewrite_methods": {"hate": ["edit", "generate", "complete"]}, "max_rewrite_attempts": 1},
            "rewrite_methods.hate: 'generate' would never be tried: expected at most max_rewrite_attempts (1) methods "
            "before 'complete', got 2",
        ),
        (
            {
                "tenants": {"acme": {"rewrite_methods": {"hate": ["edit", "omit", "complete"]}}},
                "max_rewrite_attempts": 1,
            },
            "tenants.acme: rewrite_methods.hate: 'omit' would never be tried: expected at most max_rewrite_attempts",
        ),
        (
            {
                "rewrite_methods": {"hate": ["edit", "omit", "generate", "complete"]},
                "tenants": {"hasty": {"max_rewrite_attempts": 1}},
            },
            "tenants.hasty: rewrite_methods.hate: 'omit', 'generate' would never be tried: expected at most "
            "max_rewrite_attempts (1) methods before 'complete', got 3",
        ),
    ],
)
def test_a_policy_with_a_method_that_is_never_reached_is_refused(fields: dict[str, Any], expected: str) -> None:
    by_category = {"default": ["complete"], **fields.get("rewrite_methods", {})}
    with pytest.raises(ValidationError) as raised:
        policy(**{"omissions": {"default": "(Left out.)"}, **fields, "rewrite_methods": by_category})
    assert expected in str(raised.value)


def test_a_tenant_may_take_more_tries_for_methods_of_its_own() -> None:
    own = {"rewrite_methods": {"default": ["edit", "generate", "complete"]}, "max_rewrite_attempts": 2}
    rules = Policy.model_validate(policy(max_rewrite_attempts=1).model_dump() | {"tenants": {"acme": own}})
    tries = plan_tries(rules.for_tenant("acme"), None, has_models=True)
    assert [_name(trial) for trial in tries] == ["edit", "generate", "complete"]


def test_by_default_every_method_is_reached() -> None:
    rules = policy(
        rewrite_methods={"default": ["edit", "omit", "generate", "complete"]}, omissions={"default": "(Left out.)"}
    )
    tries = plan_tries(rules, None, has_models=True)
    assert [_name(trial) for trial in tries] == ["edit", "omit", "generate", "complete"]


def test_the_policy_in_the_readme_works_and_reaches_what_it_names() -> None:
    (block,) = re.findall(r"```yaml\n(rewrite_methods:\n.*?)```", README.read_text(), re.DOTALL)
    rules = policy(**yaml.safe_load(block))
    for category, methods in rules.rewrite_methods.items():
        tried = {trial.method for trial in plan_tries(rules, category, has_models=True)}
        assert tried == set(methods)
