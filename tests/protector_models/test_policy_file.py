"""Policy files that cannot be used, and errors of one line that say why."""

from pathlib import Path

import pytest

from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.verdict import RewriteMethod
from protector_models.policy_file import load_policy
from tests.builders import assessment

RULES = "rules: [{threshold: 0.5, action: block}]\n"
TEXTS = "safe_completions: {default: No.}\n"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (f"version: x\n{RULES}{TEXTS}{RULES}", "line 4: key 'rules' is there twice, first in line 2"),
        (f"version: 2026-13-41\n{RULES}{TEXTS}", "not YAML"),
        (f"version: x\n{RULES}{TEXTS}\t- [", "not YAML"),
        (f"version: x\nrules: [{{threshold: true, action: block}}]\n{TEXTS}", "rules.0.threshold: "),
        (f"version: x\nrules: [{{threshold: 2, action: block}}]\n{TEXTS}", "rules.0.threshold: "),
        (f"version: x\n{RULES}", "safe_completions: Field required"),
        ("", "file: "),
    ],
)
def test_a_policy_that_cannot_be_used_is_an_error_of_one_line(tmp_path: Path, content: str, expected: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        load_policy(file)
    message = str(caught.value)
    assert message.startswith(f"policy {file}")
    assert expected in message
    assert "\n" not in message


@pytest.mark.parametrize("threshold", ["0", "1", "0.5"])
def test_a_threshold_is_a_number(tmp_path: Path, threshold: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(f"version: x\nrules: [{{threshold: {threshold}, action: block}}]\n{TEXTS}")
    (rule,) = load_policy(file).rules
    assert rule.threshold == float(threshold)


def test_under_the_default_policy_self_harm_is_not_hidden_by_a_higher_category() -> None:
    rules = load_policy(None)
    decision = rules.decide(assessment(0.9, categories={"unsafe_advice": 0.8, "self_harm": 0.56}))
    assert decision.category == "self_harm"
    assert rules.methods(decision.category) == (RewriteMethod.COMPLETE,)
    assert "findahelpline.com" in rules.safe_completion(decision.category)
