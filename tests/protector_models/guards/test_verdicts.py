"""Answers of guards read as scores: distributions, nonsense, categories, casing, cut answers."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.descriptions.checkpoint_description import list_descriptions, load_description
from protector_models.descriptions.generative_head import GenerativeHead
from protector_models.guards.verdicts import (
    AnswerToken,
    GuardAnswer,
    VerdictGrammar,
    add_up,
    combine,
    read_answer,
)
from protector_models.moderation.model_outputs import ItemFailure
from tests.protector_models.guards.thought_marks import MARKS

GUARDS = [description.name for description in list_descriptions() if isinstance(description.head, GenerativeHead)]
THREE_LINES = "Harmful request: {}\nResponse refusal: no\nHarmful response: {}"


def grammar(name: str, *, alone: bool = False) -> VerdictGrammar:
    head = load_description(name).head
    assert isinstance(head, GenerativeHead)
    return VerdictGrammar.of_text(head) if alone else VerdictGrammar.of_exchange(head)


def read(name: str, text: str, tokens: Sequence[AnswerToken] = (), *, alone: bool = False) -> GuardAnswer | ItemFailure:
    return read_answer(grammar(name, alone=alone), text, tokens, category=None)


def answer(harmfulness: float, *categories: str) -> GuardAnswer:
    return GuardAnswer(harmfulness=harmfulness, categories=frozenset(categories))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("llama-guard-3", "\n\nsafe", answer(0)),
        ("llama-guard-3", "\n\nunsafe\nS9", answer(1, "illicit")),
        ("llama-guard-4", "unsafe\nS1,S10, S11", answer(1, "violence", "hate", "self_harm")),
        ("llama-guard-3", "UNSAFE\ns4", answer(1, "sexual_minors")),
        ("llama-guard-3", "unsafe", answer(1)),
        ("llama-guard-3", "unsafe\nS", answer(1)),
        ("llama-guard-3", "unsafe\nS99", answer(1)),
        ("qwen3guard-gen-strict", "Safety: Safe\nCategories: None\nRefusal: Yes", answer(0)),
        ("qwen3guard-gen-strict", "Safety: Unsafe\nCategories: Violent\nRefusal: No", answer(1, "violence")),
        (
            "qwen3guard-gen-strict",
            "safety: unsafe\ncategories: Non-violent Illegal Acts, PII",
            answer(1, "illicit", "privacy"),
        ),
        ("qwen3guard-gen-strict", "Safety: Unsafe\nCategories: Politically Sensitive Topics", answer(1)),
        ("qwen3guard-gen-strict", "Safety: Unsafe\nCateg", answer(1)),
        ("qwen3guard-gen-strict", "Safety: Controversial\nCategories: Unethical Acts", answer(1, "harassment")),
        ("qwen3guard-gen-loose", "Safety: Controversial\nCategories: Unethical Acts", answer(0)),
        ("wildguard", THREE_LINES.format("yes", "no"), answer(0)),
        ("wildguard", THREE_LINES.format("no", "yes"), answer(1)),
        ("shieldgemma", "Yes", answer(1)),
        ("shieldgemma", "**No**", answer(0)),
        ("granite-guardian", "Yes\n<confidence> High </confidence>", answer(1)),
        ("granite-guardian-3.3", "<think>\n</think>\n<score> no </score>", answer(0)),
    ],
)
def test_what_a_guard_writes_is_its_verdict(name: str, text: str, expected: GuardAnswer) -> None:
    assert read(name, text) == expected


def test_a_text_that_stands_alone_is_judged_by_the_line_of_the_request() -> None:
    assert read("wildguard", THREE_LINES.format("yes", "no"), alone=True) == answer(1)
    assert read("wildguard", THREE_LINES.format("no", "yes"), alone=True) == answer(0)


@pytest.mark.parametrize("name", GUARDS)
@pytest.mark.parametrize(
    "text",
    ["", "\n\n", "I cannot help.", "Safety:", "unsafety first", "Yesterday", "<score>", "harmful", "🦆"],
)
def test_an_answer_without_a_verdict_is_a_failure(name: str, text: str) -> None:
    outcome = read(name, text)
    assert isinstance(outcome, ItemFailure)
    assert outcome.error == "UnreadableVerdict"


@given(name=st.sampled_from(GUARDS), text=st.text(alphabet="Ss12, \nafeunYNo:<>corhmiltydp", max_size=40))
def test_whatever_a_guard_writes_is_a_score_or_a_failure_and_a_failure_quotes_nothing(name: str, text: str) -> None:
    outcome = read(name, f"{text}♞")
    if isinstance(outcome, ItemFailure):
        assert outcome.error == "UnreadableVerdict"
        assert "♞" not in outcome.message
    else:
        assert outcome.harmfulness in {0.0, 1.0}


def tokens_of(pieces: Sequence[str], place: int, **log_probabilities: float) -> list[AnswerToken]:
    """Build tokens that all have the same odd probabilities, but for one."""
    odd = dict.fromkeys(log_probabilities, -9.0)
    return [
        AnswerToken(text=piece, log_probabilities=log_probabilities if index == place else odd)
        for index, piece in enumerate(pieces)
    ]


@given(st.floats(1e-6, 1 - 1e-6), st.floats(-50, 50))
def test_harmfulness_is_the_share_of_the_harmful_verdict_where_it_begins(share: float, shift: float) -> None:
    tokens = tokens_of(
        ["\n\n", "un", "safe", "\n", "S1"], 1, unsafe=math.log(share) + shift, safe=math.log(1 - share) + shift
    )
    outcome = read("llama-guard-3", "\n\nunsafe\nS1", tokens)
    assert isinstance(outcome, GuardAnswer)
    assert outcome.harmfulness == pytest.approx(share, abs=1e-9)
    assert outcome.categories == {"violence"}


@given(st.lists(st.floats(-700, 0), min_size=3, max_size=3))
def test_strict_is_never_below_loose(values: list[float]) -> None:
    spread = dict(zip(("Safe", "Controversial", "Unsafe"), values, strict=True))
    strict, loose = (grammar(f"qwen3guard-gen-{name}").weigh("Controversial", spread) for name in ("strict", "loose"))
    assert 0 <= loose <= strict <= 1
    total = math.fsum(math.exp(value - max(values)) for value in values)
    assert strict - loose == pytest.approx(math.exp(values[1] - max(values)) / total, abs=1e-9)


def test_verdicts_that_cannot_begin_there_are_not_counted() -> None:
    assert grammar("llama-guard-3").weigh("unsafe", {"unsafe": -3.0, "safe": -math.inf}) == 1.0


def test_without_the_probability_of_what_was_written_its_weight_counts() -> None:
    assert grammar("llama-guard-3").weigh("unsafe", {"safe": -0.1}) == 1.0
    assert grammar("llama-guard-3").weigh("unsafe", {}) == 1.0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_probability_that_is_none_is_a_failure_and_not_a_score(value: float) -> None:
    outcome = read("llama-guard-3", "safe", tokens_of(["safe"], 0, safe=value, unsafe=-1.0))
    assert isinstance(outcome, ItemFailure)
    assert outcome.error == "NotFiniteScore"


def test_a_token_that_holds_more_than_the_verdict_tells_nothing_of_the_others() -> None:
    tokens = tokens_of(["Safety: Unsafe"], 0, Safe=-0.1, Unsafe=-3.0)
    assert read("qwen3guard-gen-strict", "Safety: Unsafe", tokens) == answer(1)


def test_tokens_that_say_something_else_than_the_text_are_not_used() -> None:
    tokens = tokens_of(["safe"], 0, safe=-0.1, unsafe=-3.0)
    assert read("llama-guard-3", "unsafe\nS1", tokens) == answer(1, "violence")


def test_tokens_are_of_the_verdict_that_they_alone_can_begin() -> None:
    found = grammar("qwen3guard-gen-strict")
    tokens = ["Un", " unsafe", "S", "\nsafe", "Con", "CONTROVERSIAL", "safely", "", " ", "x"]
    labels = [found.label_of_token(token) for token in tokens]
    assert labels == ["Unsafe", "Unsafe", "Safe", "Safe", "Controversial", "Controversial", None, None, None, None]
    both = VerdictGrammar("(?P<verdict>harmful|harmless)", {"harmful": 1, "harmless": 0}, {})
    assert [both.label_of_token(token) for token in ("harm", "harmf", "harmless")] == [None, "harmful", "harmless"]


def test_tokens_of_one_verdict_add_up() -> None:
    alternatives = [("safe", math.log(0.5)), (" Safe", math.log(0.25)), ("un", math.log(0.125)), ("maybe", -0.1)]
    found = add_up(grammar("llama-guard-3"), alternatives)
    assert {label: round(math.exp(value), 9) for label, value in found.items()} == {"safe": 0.75, "unsafe": 0.125}


def test_the_category_that_was_asked_for_is_that_of_the_answer() -> None:
    outcome = read_answer(grammar("shieldgemma"), "No", (), category="hate")
    assert outcome == answer(0, "hate")


@given(st.lists(st.builds(answer, st.floats(0, 1), st.sampled_from(["hate", "sexual"])), min_size=1))
def test_an_exchange_is_as_harmful_as_the_most_harmful_answer_about_it(answers: list[GuardAnswer]) -> None:
    harmfulness, categories = combine(answers, {"sexual", "hate", "violence"})
    assert harmfulness == round(max(each.harmfulness for each in answers), 4)
    assert list(categories) == ["hate", "sexual", "violence"]
    assert categories["violence"] == 0
    assert max(categories.values()) == harmfulness


@pytest.mark.parametrize("name", GUARDS)
def test_every_description_tells_its_verdicts_apart_by_their_first_letter(name: str) -> None:
    found = grammar(name)
    assert all(found.label_of_token(label[0]) == label for label in found.labels)
    weights = {label: found.weigh(label, {}) for label in found.labels}
    assert min(weights.values()) == 0
    assert max(weights.values()) == 1


VERDICTS = {
    "llama-guard-3": ("safe", "unsafe\nS1"),
    "qwen3guard-gen-strict": ("Safety: Safe\nCategories: None", "Safety: Unsafe\nCategories: Violent"),
    "wildguard": (THREE_LINES.format("no", "no"), THREE_LINES.format("no", "yes")),
    "granite-guardian-3.3": ("<score> no </score>", "<score> yes </score>"),
}
thoughts = st.sampled_from(
    ["", "Well.\n", "It may be unsafe.\n", *(text for pair in VERDICTS.values() for text in pair)]
)


@given(st.sampled_from(sorted(VERDICTS)), st.booleans(), thoughts, st.sampled_from(MARKS), st.booleans())
def test_the_verdict_is_what_stands_behind_a_thought_whatever_was_thought_in_whatever_marks(
    name: str, harmful: bool, thought: str, marks: tuple[str, str], has_begin: bool
) -> None:
    begin, end = marks
    text = VERDICTS[name][harmful]
    assert read(name, f"{begin * has_begin}\n{thought}{end}\n\n{text}") == read(name, text)


@given(st.sampled_from(sorted(VERDICTS)), thoughts, st.sampled_from(MARKS), st.booleans())
def test_an_answer_that_ends_within_a_thought_or_right_behind_it_is_a_failure(
    name: str, thought: str, marks: tuple[str, str], has_thought_before: bool
) -> None:
    begin, end = marks
    for text in (f"{f'First.{end}' * has_thought_before}{begin}\n{thought}", f"{begin}{thought}{end}\n"):
        outcome = read(name, text)
        assert isinstance(outcome, ItemFailure)
        assert outcome.error == "UnreadableVerdict"


@pytest.mark.parametrize(
    ("thought", "text"),
    [
        (["<think>", "un", "safe", "?", "</think>"], "<think>unsafe?</think>\n\nunsafe\nS1"),
        (["<think>", "un", "safe", "?", "</think>"], "unsafe\nS1"),
        (["un", "safe", "?"], "unsafe\nS1"),
    ],
    ids=["in the text", "taken out of the text", "without its marks"],
)
def test_probabilities_are_those_behind_the_thought(thought: list[str], text: str) -> None:
    pieces = [*thought, "\n\n", "un", "safe", "\n", "S1"]
    tokens = tokens_of(pieces, len(thought) + 1, unsafe=math.log(0.8), safe=math.log(0.2))
    outcome = read("llama-guard-3", text, tokens)
    assert isinstance(outcome, GuardAnswer)
    assert outcome.harmfulness == pytest.approx(0.8, abs=1e-9)


verdicts = st.sampled_from(sorted(VERDICTS)).flatmap(
    lambda name: st.tuples(st.just(name), st.lists(st.sampled_from(VERDICTS[name]), min_size=1, max_size=4))
)


@given(verdicts, st.sampled_from(["\n", "\n\n", " ", "\nNo: ", "\r\n"]))
def test_verdicts_that_differ_in_one_answer_are_a_failure_or_the_more_harmful_one_and_the_same_again_is_one(
    drawn: tuple[str, list[str]], between: str
) -> None:
    name, written = drawn
    outcome = read(name, between.join(written))
    harmful = [text == VERDICTS[name][True] for text in written]
    if isinstance(outcome, ItemFailure):
        assert any(harmful)
        assert not all(harmful)
        assert outcome.error == "UnreadableVerdict"
        assert "contradict" in outcome.message
    else:
        assert outcome.harmfulness == float(any(harmful))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("llama-guard-3", "safe\nunsafe\nS1"),
        ("llama-guard-3", "unsafe\nS1\nsafe"),
        ("llama-guard-4", "safe, or rather unsafe"),
        ("qwen3guard-gen-strict", "Safety: Safe\nCategories: None\n\nSafety: Unsafe\nCategories: Violent"),
        ("qwen3guard-gen-strict", "Safety: Safe Safety: Unsafe\nCategories: Violent"),
        ("qwen3guard-gen-loose", "Safety: Controversial\nSafety: Unsafe"),
        ("wildguard", f"{THREE_LINES.format('no', 'no')}\n{THREE_LINES.format('no', 'yes')}"),
        ("shieldgemma", "No\n\nYes"),
        ("granite-guardian", "No\nYes"),
        ("granite-guardian-3.3", "<score> no </score><score> yes </score>"),
    ],
)
def test_an_answer_that_takes_its_verdict_back_is_a_failure(name: str, text: str) -> None:
    outcome = read(name, text)
    assert isinstance(outcome, ItemFailure)
    assert outcome.error == "UnreadableVerdict"
    assert "contradict" in outcome.message


def test_a_harmful_verdict_stands_though_its_reason_names_the_other_one() -> None:
    assert read("llama-guard-3", "unsafe\nS1\nThis is not safe for anybody.") == answer(1, "violence")
    assert read("shieldgemma", "Yes, there is no doubt.") == answer(1)
