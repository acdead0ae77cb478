"""The policy in force fits the models."""

from pathlib import Path

import pytest

from pipelines.settings import WeirSettings
from protector_models.detectors.choice import describe_detector, find_weights
from protector_models.detectors.shipped.harm_detector import OnnxHarmDetector
from protector_models.detectors.shipped.weights_in_use import SHIPPED_WEIGHTS, find_weights_in_use
from protector_models.detoxification.settings import DetoxifierSettings
from protector_models.images.settings import ImageSettings
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.model_outputs import Assessment
from protector_models.moderation.verdict import Action, RewriteMethod
from protector_models.policies.policy_file import load_policy
from protector_models.settings import DetectorSettings
from services.policies_in_force import load_policy_in_force, load_shadow_policy
from tests.builders import exchange


def test_the_default_policy_uses_the_thresholds_of_the_detector_that_is_shipped() -> None:
    settings = WeirSettings()
    card = find_weights_in_use(find_weights(settings.detector), settings.detector.weights).card
    thresholds = {rule.category: rule.threshold for rule in load_policy_in_force(settings).rules}
    # No data may tell a threshold of sexual_minors.
    assert thresholds == {
        "any": card.threshold,
        "self_harm": card.budget_thresholds["self_harm"]["0.005"],
        "sexual_minors": 0.15,
    }


def test_the_default_policy_has_a_text_for_every_category_of_the_detector() -> None:
    settings = WeirSettings()
    assert describe_detector(settings.detector).categories <= set(load_policy_in_force(settings).safe_completions)


COMPLETED_WHOLE = ("self_harm", "sexual_minors")
"""Categories of which nothing of an answer is kept."""


def test_the_default_policy_has_methods_and_texts_in_four_languages_for_every_category() -> None:
    policy = load_policy_in_force(WeirSettings())
    for category, text in policy.safe_completions.items():
        # What is for a need alone ends whatever way of rewriting the answer's category has.
        omitted = policy.omissions.get(category, text)
        assert category in {*policy.omissions, *COMPLETED_WHOLE, *policy.completions_for_needs(), "unspecified"}
        for versions in (text, omitted):
            assert isinstance(versions, dict)
            assert set(versions) == {"en", "de", "fr", "es"}
    texts = [
        policy.safe_completion(category, language) for category in policy.safe_completions for language in ("en", "de")
    ]
    assert len(set(texts)) == len(texts)
    assert all(policy.methods(category) == (RewriteMethod.COMPLETE,) for category in COMPLETED_WHOLE)


@pytest.mark.parametrize(
    "prompt", ["", "Write something really terrible about my neighbour.", "How do I build a bomb?"]
)
@pytest.mark.shipped
def test_the_detector_lets_every_english_text_of_the_default_policy_pass(prompt: str) -> None:
    policy = load_policy_in_force(WeirSettings())
    texts = [policy.safe_completion(category) for category in policy.safe_completions]
    texts += [policy.omission(category) for category in policy.omissions]
    detector = OnnxHarmDetector.load(SHIPPED_WEIGHTS, num_threads=1)
    for text, assessment in zip(texts, detector.assess([exchange(text, prompt=prompt) for text in texts]), strict=True):
        assert isinstance(assessment, Assessment)
        assert policy.decide(assessment).action is Action.ALLOW, (text, assessment.harmfulness)


@pytest.mark.parametrize(
    ("detector", "version", "categories"),
    [
        ({}, "default-8", {"any", "self_harm", "sexual_minors"}),
        ({"engine": "torch", "device": "cuda"}, "default-8", {"any", "self_harm", "sexual_minors"}),
        ({"weights": "fast"}, "default-8, threshold {:g}", {"any", "self_harm", "sexual_minors"}),
        ({"kind": "bag_of_words"}, "default-8, threshold {:g}", {"any", "self_harm", "sexual_minors"}),
        (
            {"kind": "transformers", "model": "m", "description": "mllm-protector-3b"},
            "default-8, threshold {:g}",
            {"any"},
        ),
    ],
)
def test_the_default_policy_has_the_threshold_of_the_detector_in_force(
    detector: dict[str, object], version: str, categories: set[str]
) -> None:
    settings = WeirSettings(detector=DetectorSettings.model_validate(detector))
    threshold = describe_detector(settings.detector).threshold
    policy = load_policy_in_force(settings)
    assert policy.version == version.format(threshold)
    rules = {rule.category: rule for rule in policy.rules}
    assert rules.keys() == categories
    assert rules["any"].threshold == threshold
    if settings.detector.kind == "onnx":
        card = find_weights_in_use(find_weights(settings.detector), settings.detector.weights).card
        budget = card.budget_thresholds["self_harm"]["0.005"]
        assert budget is not None
        assert rules["self_harm"].threshold == budget < threshold
        assert rules["sexual_minors"].threshold == 0.15
    assert {rule.action for rule in policy.rules} == {Action.REWRITE}
    assert policy.safe_completions == load_policy(None).safe_completions


def test_a_rule_over_a_category_that_the_detector_does_not_know_is_refused(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "version: x\nrules: [{category: gossip, threshold: 0.5, action: block}]\nsafe_completions: {default: No.}\n"
    )
    with pytest.raises(ConfigurationError, match="gossip"):
        load_policy_in_force(WeirSettings(policy=policy))


@pytest.mark.parametrize(("category", "is_told"), [("hate", True), ("any", False), ("unspecified", False)])
def test_a_policy_that_leaves_harm_of_no_category_alone_is_warned_of_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, category: str, is_told: bool
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        f"version: x\nrules: [{{category: {category}, threshold: 0.5, action: block}}]\n"
        "safe_completions: {default: No.}\n"
    )
    load_policy_in_force(WeirSettings(policy=policy))
    told = [record.getMessage() for record in caplog.records]
    assert [("policy x: rules: " in line, "'any' or 'unspecified'" in line) for line in told] == [
        (True, True)
    ] * is_told


def test_the_default_policy_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    load_policy_in_force(WeirSettings())
    assert caplog.records == []


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("safe_completions: {default: No., harrasment: No.}", "safe_completions"),
        ("safe_completions: {default: No.}\ntenants: {t: {safe_completions: {harrasment: No.}}}", "safe_completions"),
        ("safe_completions: {default: No.}\nomissions: {harrasment: Gone.}", "omissions"),
        (
            "safe_completions: {default: No.}\nrewrite_methods: {default: [complete], harrasment: [complete]}",
            "rewrite_methods",
        ),
    ],
)
def test_what_is_for_a_category_that_nobody_knows_is_refused(tmp_path: Path, content: str, named: str) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(f"version: x\nrules: [{{threshold: 0.5, action: block}}]\n{content}\n")
    with pytest.raises(ConfigurationError, match=rf"{named} of harrasment: expected 'default' or .*harassment"):
        load_policy_in_force(WeirSettings(policy=policy))


@pytest.mark.parametrize(
    ("content", "detoxifier", "expected"),
    [
        (
            "rewrite_methods: {default: [complete], hate: [generate, complete]}",
            {},
            r"'generate' in rewrite_methods.hate: expected detoxifier.generator.kind to name a model, got 'off'",
        ),
        (
            "rewrite_methods: {default: [edit, complete]}",
            {"edit": False},
            "'edit' in rewrite_methods.default: expected detoxifier.edit to be on, got off",
        ),
        (
            "tenants: {acme: {rewrite_methods: {violence: [edit, complete]}}}",
            {"edit": False},
            "'edit' in tenants.acme.rewrite_methods.violence: expected",
        ),
    ],
)
def test_a_method_for_which_no_model_is_configured_is_refused(
    tmp_path: Path, content: str, detoxifier: dict[str, object], expected: str
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        f"version: x\nrules: [{{threshold: 0.5, action: block}}]\nsafe_completions: {{default: No.}}\n{content}\n"
    )
    with pytest.raises(ConfigurationError, match=expected):
        load_policy_in_force(WeirSettings(policy=policy, detoxifier=DetoxifierSettings.model_validate(detoxifier)))


def test_a_text_may_be_for_a_need(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    texts = (
        "version: x\nrules: [{threshold: 0.5, action: block}]\nsafe_completions: {default: No., abuse: Talk to us.}\n"
    )
    policy.write_text(f"{texts}needs: [{{need: abuse, threshold: 0.5, completion: abuse}}]\n")
    assert "abuse" in load_policy_in_force(WeirSettings(policy=policy)).safe_completions
    policy.write_text(texts)
    with pytest.raises(ConfigurationError, match="safe_completions of abuse"):
        load_policy_in_force(WeirSettings(policy=policy))


def test_a_text_may_be_for_a_category_of_the_project_that_the_detector_does_not_know(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "version: x\nrules: [{threshold: 0.5, action: block}]\nsafe_completions: {default: No., sexual_minors: No.}\n"
    )
    assert "sexual_minors" in load_policy_in_force(WeirSettings(policy=policy)).safe_completions


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ({}, "expected a category of images.classifier: none is configured"),
        (
            {"classifier": {"model": "m", "labels": {"nsfw": "sexual"}}},
            "expected a category of images.classifier: sexual",
        ),
    ],
)
def test_a_rule_over_images_that_would_never_apply_is_refused(
    tmp_path: Path, images: dict[str, object], said: str
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "version: x\nrules: [{threshold: 0.5, action: block}]\nsafe_completions: {default: No.}\n"
        "image_rules: [{category: gore, threshold: 0.5, action: block}]\n"
    )
    with pytest.raises(ConfigurationError, match=f"image_rules over gore: {said}"):
        load_policy_in_force(WeirSettings(policy=policy, images=ImageSettings.model_validate(images)))


def test_a_shadow_policy_must_fit_the_models_as_well(tmp_path: Path) -> None:
    assert load_shadow_policy(WeirSettings()) is None
    policy = tmp_path / "next.yaml"
    text = "version: x\nrules: [{category: hate, threshold: 0.5, action: block}]\nsafe_completions: {default: No.}\n"
    policy.write_text(text)
    assert load_shadow_policy(WeirSettings(shadow_policy=policy)) == load_policy(policy)
    policy.write_text(text.replace("hate", "gossip"))
    with pytest.raises(ConfigurationError, match="gossip"):
        load_shadow_policy(WeirSettings(shadow_policy=policy))
