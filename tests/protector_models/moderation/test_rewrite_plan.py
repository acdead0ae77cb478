import pytest

from protector_models.moderation.rewrite_plan import Try, plan_tries
from tests.builders import policy


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
        (["edit", "omit"], 1, ["edit"]),
        (["edit", "omit"], 9, ["edit", "omit"]),
        (["generate"], 1, ["generate"]),
        (["generate"], 3, ["generate", "generate1", "generate2"]),
        (["edit", "generate"], 3, ["edit", "generate", "generate1"]),
        (["edit", "generate"], 1, ["edit"]),
        (["generate", "omit"], 4, ["generate", "omit"]),
        (["edit", "omit", "generate"], 2, ["edit", "omit"]),
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
