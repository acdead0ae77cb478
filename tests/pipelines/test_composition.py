"""What is put together fits together."""

from pathlib import Path

import pytest

from pipelines.composition import detector_checkpoint, load_policy_in_force
from pipelines.settings import WeirSettings
from protector_models.checkpoints import CheckpointCard
from protector_models.moderation.errors import ConfigurationError


def test_the_default_policy_uses_the_thresholds_of_the_detector_that_is_shipped() -> None:
    settings = WeirSettings()
    card = CheckpointCard.load(detector_checkpoint(settings))
    thresholds = {rule.category: rule.threshold for rule in load_policy_in_force(settings).rules}
    assert thresholds == {"any": card.threshold, "self_harm": card.budget_thresholds["self_harm"]["0.005"]}


def test_the_default_policy_has_a_text_for_every_category_of_the_detector() -> None:
    settings = WeirSettings()
    card = CheckpointCard.load(detector_checkpoint(settings))
    assert set(card.categories) <= set(load_policy_in_force(settings).safe_completions)


def test_a_rule_over_a_category_that_the_detector_does_not_know_is_refused(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "version: x\nrules: [{category: gossip, threshold: 0.5, action: block}]\nsafe_completions: {default: No.}\n"
    )
    with pytest.raises(ConfigurationError, match="gossip"):
        load_policy_in_force(WeirSettings(policy=policy))


@pytest.mark.parametrize(
    "texts",
    [
        "safe_completions: {default: No., harrasment: No.}",
        "safe_completions: {default: No.}\ntenants: {t: {safe_completions: {harrasment: No.}}}",
    ],
    ids=["everybody's", "a tenant's"],
)
def test_a_text_for_a_category_that_nobody_knows_is_refused(tmp_path: Path, texts: str) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(f"version: x\nrules: [{{threshold: 0.5, action: block}}]\n{texts}\n")
    with pytest.raises(ConfigurationError, match=r"safe_completions of harrasment: expected 'default' or .*harassment"):
        load_policy_in_force(WeirSettings(policy=policy))


def test_a_text_may_be_for_a_category_of_the_project_that_the_detector_does_not_know(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "version: x\nrules: [{threshold: 0.5, action: block}]\nsafe_completions: {default: No., sexual_minors: No.}\n"
    )
    assert "sexual_minors" in load_policy_in_force(WeirSettings(policy=policy)).safe_completions
