"""Policy files that cannot be used, and errors of one line that say why."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.verdict import Action, RewriteMethod
from protector_models.policies.policy_file import load_policy
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
        (f"version: x\n{RULES}", "safe_completions: expected it to be there"),
        ("", ": expected a mapping, got nothing"),
        (f"version: x\n{RULES}{TEXTS}on_unknown_tenant: refuse\n", "line 4: on_unknown_tenant: expected "),
        (f'version: x\n{RULES}{TEXTS}tenants: {{"": {{shadow: true}}}}\n', "line 4: tenants: expected names of 1 to "),
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


@pytest.mark.parametrize(
    ("score", "action", "category"), [(0.15, Action.REWRITE, "sexual_minors"), (0.1499, Action.ALLOW, None)]
)
def test_under_the_default_policy_sexual_minors_is_acted_on_from_a_low_score_on(
    score: float, action: Action, category: str | None
) -> None:
    decision = load_policy(None).decide(assessment(0.2, categories={"sexual": score, "sexual_minors": score}))
    assert (decision.action, decision.category) == (action, category)


def test_under_the_default_policy_nothing_is_kept_where_sexual_minors_is_named() -> None:
    rules = load_policy(None)
    scores = {"harassment": 0.9, "sexual": 0.3, "sexual_minors": 0.3}
    decision = rules.decide(assessment(0.95, categories=scores))
    assert decision.category == "sexual_minors"
    assert rules.methods(decision.category) == (RewriteMethod.COMPLETE,)
    assert "stopitnow.org" in rules.safe_completion(decision.category)


FORMS = {
    "threshold": "version: x\nrules:\n  - category: any\n    threshold: {}\n    action: block\n" + TEXTS,
    "threshold in braces": "version: x\nrules:\n  - {{action: block,\n     threshold: {}, category: any}}\n" + TEXTS,
    "omit_up_to": "version: x\n" + RULES + TEXTS + "omit_up_to: {}\n",
    "a tenant's": f"version: x\n{RULES}{TEXTS}tenants:\n  t:\n    omit_up_to: {{}}\n",
    "version": "version: {}\n" + RULES + TEXTS,
    "on_failure": "version: x\n" + RULES + TEXTS + "on_failure: {}\n",
    "a text": f"version: x\n{RULES}safe_completions:\n  default: {{}}\n",
    "a text by language": f"version: x\n{RULES}safe_completions:\n  default:\n    en: {{}}\n",
    "a method": f"version: x\n{RULES}{TEXTS}rewrite_methods:\n  default:\n    - {{}}\n",
}
"""Policies with a place for one value, each on a line of its own."""
NUMBERS = ("threshold", "threshold in braces", "omit_up_to", "a tenant's")
WORDS = ("version", "on_failure", "a text", "a text by language", "a method")

LAW = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def refusal(file: Path, form: str, value: str) -> str:
    """Return what is said of a policy with a value in one place, without the place, which must be named by its line."""
    content = FORMS[form].replace("{{", "{").replace("}}", "}").replace("{}", value)
    line = FORMS[form][: FORMS[form].index("{}")].count("\n") + 1
    file.write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        load_policy(file)
    place, message = f"policy {file}, line {line}: ", str(caught.value)
    assert message.startswith(place)
    assert ";" not in message
    return message.removeprefix(place)


@LAW
@given(form=st.sampled_from(NUMBERS), hundredths=st.integers(0, 9_999), blanks=st.sampled_from(["", " "]))
def test_a_share_in_percent_is_refused_with_the_number_that_is_meant(
    tmp_path: Path, form: str, hundredths: int, blanks: str
) -> None:
    said = refusal(tmp_path / "p.yaml", form, f"{hundredths / 100:g}{blanks}%")
    assert said.endswith(f": no percent sign is meant, as in {hundredths / 10_000:g}")


@LAW
@given(form=st.sampled_from(NUMBERS), whole=st.integers(0, 1), decimals=st.from_regex("[0-9]{1,6}", fullmatch=True))
def test_a_decimal_comma_is_refused(tmp_path: Path, form: str, whole: int, decimals: str) -> None:
    assert "a decimal point is meant" in refusal(tmp_path / "p.yaml", form, f"{whole},{decimals}")


@LAW
@given(form=st.sampled_from(NUMBERS), quote=st.sampled_from("'\""), value=st.floats(0.01, 1))
def test_a_number_in_quotes_is_refused(tmp_path: Path, form: str, quote: str, value: float) -> None:
    assert refusal(tmp_path / "p.yaml", form, f"{quote}{value:.6f}{quote}").endswith(": no quotes are meant")


@LAW
@given(
    form=st.sampled_from(WORDS),
    word=st.sampled_from(["no", "No", "off", "OFF", "false", "yes", "Yes", "on", "true"]),
)
def test_a_word_for_true_or_false_is_no_text(tmp_path: Path, form: str, word: str) -> None:
    meaning = "true" if word.lower() in {"yes", "on", "true"} else "false"
    said = refusal(tmp_path / "p.yaml", form, word)
    assert said.endswith(f", got {word}, which is {meaning} in YAML: quote it")


@pytest.mark.parametrize("form", WORDS)
@pytest.mark.parametrize(
    ("word", "reading"),
    [
        ("1.10", "a number"),
        ("3", "a number"),
        ("12:30", "a number"),
        ("1_000", "a number"),
        ("2026-11-30", "a date"),
        ("2026-11-30 12:00:00", "a date"),
        ("~", "nothing"),
        ("null", "nothing"),
    ],
)
def test_what_yaml_takes_for_something_else_is_no_text_either(
    tmp_path: Path, form: str, word: str, reading: str
) -> None:
    said = refusal(tmp_path / "p.yaml", form, word)
    assert said.endswith(f", got {word}, which is {reading} in YAML: quote it")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("x-common: &c {shadow: true}\n<<: *c\n", "line 4: x-common: unknown key; expected one of: default_language, "),
        ("on_failur: block\n", "line 4: on_failur: unknown key; did you mean on_failure?"),
        ("tenants: {t: {\n  shadwo: true}}\n", "line 5: tenants.t.shadwo: unknown key; did you mean shadow?"),
        ("image_rules:\n- {categori: x, threshold: 1, action: block, category: x}\n", "did you mean category?"),
        ("on_unread_text:\n", "line 4: on_unread_text: expected 'allow', 'review' or 'block', got nothing"),
        ("slots: {help: 'us'}\n", "line 4: slots.help: expected a text with {help} in it, found none"),
        ("slots: {1: us}\n", "line 4: slots.1.[key]: "),
    ],
)
def test_the_place_of_a_fault_is_named_and_what_was_meant(tmp_path: Path, content: str, expected: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(f"version: x\n{RULES}{TEXTS}{content}")
    with pytest.raises(ConfigurationError) as caught:
        load_policy(file)
    assert expected in str(caught.value)


def test_a_slot_that_nobody_fills_is_named_with_those_there_are(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(
        f"version: x\n{RULES}safe_completions:\n  default:\n    en: Ask {{nurse}}.\n    de: Frag {{nurs}}.\n"
        "slots: {nurse: us, doctor: them}\n"
    )
    with pytest.raises(ConfigurationError) as caught:
        load_policy(file)
    assert str(caught.value) == (
        f"policy {file}, line 6: safe_completions.default.de: slot {{nurs}}: expected one of slots: doctor, nurse"
    )


def test_anchors_aliases_and_merges_are_read(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(
        f"version: x\n{RULES}safe_completions: {{default: &text No., hate: *text}}\n"
        "tenants:\n  a: &a {shadow: true}\n  b: {<<: *a, on_failure: block}\n"
    )
    policy = load_policy(file)
    assert policy.safe_completion("hate") == "No."
    assert (policy.for_tenant("b").shadow, policy.for_tenant("b").on_failure) == (True, "block")
    assert policy.for_tenant("a").on_failure == "dead_letter"


def test_two_faults_are_told_in_one_line_without_those_that_follow_from_them(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(f"version: 1.0\nrules: [{{threshold: 5%, action: block}}]\n{TEXTS}")
    with pytest.raises(ConfigurationError) as caught:
        load_policy(file)
    assert str(caught.value) == (
        f"policy {file}, line 2: rules.0.threshold: expected a valid number, got '5%': no percent sign is meant, as in "
        "0.05; line 1: version: expected a valid string, got 1.0, which is a number in YAML: quote it"
    )


def test_fields_that_came_later_leave_the_revision_of_the_default_policy_as_it_was() -> None:
    # Changes with what the policy says, and then its version does, too.
    assert load_policy(None).revision == "default-8@c8386188286e"
