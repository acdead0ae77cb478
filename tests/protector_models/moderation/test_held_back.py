"""What of an answer goes out while it is written."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.moderation.conversation import ConversationEvent, Exchange
from protector_models.moderation.errors import DependencyError
from protector_models.moderation.fakes import POISON, FakeDetoxifier, FakeHarmDetector, RecordedMetrics
from protector_models.moderation.held_back import HeldBackAnswer, PieceNotJudgedError, Progress
from protector_models.moderation.memory_cache import MemoryVerdictCache
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.moderation.moderator import Moderator
from protector_models.moderation.policy.needs import NeedRule
from protector_models.moderation.policy.policy import Policy
from protector_models.moderation.verdict import Action, Outcome, RewriteMethod
from tests.builders import SAFE_TEXT, event, policy

HARM = "This part is harm=0.9 category=hate and much too long to be passed over."
PLAIN = "This part says how to get home by bus, at night as well. "

Texts = st.lists(
    st.sampled_from(
        [
            PLAIN,
            f"{HARM} ",
            "Yes! ",
            "Bye.\n",
            " harm=0.9 \n",
            "1. First\n",
            "```\nx = 1\n\n",
            "Dr. Hill ",
            "。",
            "\n\n",
            "  ",
            "word " * 90,
            "a" * 450,
        ]
    )
    | st.text(alphabet="ab1.!? \n-", max_size=30),
    max_size=12,
).map("".join)


def answer(
    *,
    detector: FakeHarmDetector | None = None,
    rules: Policy | None = None,
    detoxifier: FakeDetoxifier | None = None,
    progress: Progress | None = None,
    name_language: Callable[[str], str | None] | None = None,
) -> HeldBackAnswer:
    """Return an answer over fakes."""
    rules = rules or policy()
    moderator = Moderator(
        policy=rules,
        detector=detector or FakeHarmDetector(),
        cache=MemoryVerdictCache(max_entries=1_000),
        metrics=RecordedMetrics(),
        detoxifier=detoxifier,
    )
    return HeldBackAnswer(
        event(None), moderator, rules.for_tenant("default"), name_language=name_language, progress=progress
    )


async def read_in_steps(held_back: HeldBackAnswer, text: str, steps: list[int]) -> str:
    """Read a text as it comes, and return all that went out."""
    out = ""
    for step in sorted({min(step, len(text)) for step in steps}):
        out += await held_back.read(text[:step])
    return out + await held_back.read(text, is_whole=True)


@given(text=Texts, steps=st.lists(st.integers(0, 900), max_size=12))
async def test_what_goes_out_does_not_depend_on_how_the_text_comes(text: str, steps: list[int]) -> None:
    assert await read_in_steps(answer(), text, steps) == await answer().read(text, is_whole=True)


@given(text=Texts, steps=st.lists(st.integers(0, 900), max_size=12))
async def test_no_character_goes_out_that_was_not_judged(text: str, steps: list[int]) -> None:
    detector = FakeHarmDetector()
    held_back = answer(detector=detector)
    out = ""
    for step in [*sorted({min(step, len(text)) for step in steps}), len(text)]:
        out += await held_back.read(text[:step], is_whole=step == len(text))
        assert "harm=" not in out
        assert held_back.progress.num_judged <= step
        said = out.removesuffix(f"\n\n{SAFE_TEXT}")
        judged = {place for exchange in detector.assessed for place in places_of(exchange.response, said)}
        assert judged.issuperset(range(len(said)))


def places_of(passage: str, text: str) -> set[int]:
    """Return the characters of a text that lie in some occurrence of a passage."""
    starts = [start for start in range(len(text)) if passage and text.startswith(passage, start)]
    return {place for start in starts for place in range(start, start + len(passage))}


@given(text=Texts, steps=st.lists(st.integers(0, 900), max_size=6))
async def test_an_answer_can_be_gone_on_with_elsewhere(text: str, steps: list[int]) -> None:
    progress, out = None, ""
    for step in [*sorted({min(step, len(text)) for step in steps}), len(text)]:
        held_back = answer(progress=progress)
        out += await held_back.read(text[:step], is_whole=step == len(text))
        progress = held_back.progress
    assert out == await answer().read(text, is_whole=True)


async def test_a_harmless_answer_goes_out_as_it_is_sentence_by_sentence() -> None:
    held_back = answer()
    assert await held_back.read(PLAIN[:-5]) == ""
    assert await held_back.read(PLAIN * 2) == PLAIN.rstrip()
    assert await held_back.read(PLAIN * 2, is_whole=True) == f" {PLAIN}"
    assert held_back.progress == Progress(num_judged=len(PLAIN) * 2, delivered=PLAIN * 2, num_released=len(PLAIN) * 2)


async def test_the_policys_text_ends_an_answer_whose_harm_cannot_be_left_out() -> None:
    held_back = answer()
    text = f"{PLAIN}{HARM} {PLAIN}"
    assert await held_back.read(text, is_whole=True) == f"{PLAIN.rstrip()}\n\n{SAFE_TEXT}"
    assert held_back.progress.is_over
    assert not held_back.progress.is_withheld
    assert await held_back.read(text, is_whole=True) == ""
    assert [finding.category for finding in held_back.findings] == ["hate"]


async def test_an_answer_goes_on_behind_a_sentence_that_was_left_out() -> None:
    rules = policy(rewrite_methods={"default": ["omit", "complete"]}, omissions={"default": "[left out]"})
    held_back = answer(rules=rules)
    out = await held_back.read(f"{PLAIN * 3}{HARM} {PLAIN * 3}", is_whole=True)
    assert "harm=" not in out
    assert out.startswith(PLAIN * 2)
    assert out.endswith(PLAIN * 2)
    assert not held_back.progress.is_over


async def test_harm_over_the_edge_of_two_sentences_is_seen() -> None:
    text = f"{PLAIN}Second part, which means harm beside the first one only."
    out = await answer(detector=Pairing("get home", "Second")).read(text, is_whole=True)
    assert out == f"{PLAIN.rstrip()}\n\n{SAFE_TEXT}"


async def test_harm_is_seen_beside_the_last_four_hundred_characters_that_went_out() -> None:
    text = f"{PLAIN * 10}Second part, which means harm beside the first one only."
    out = await answer(detector=Pairing("get home", "Second")).read(text, is_whole=True)
    assert out == f"{(PLAIN * 10).rstrip()}\n\n{SAFE_TEXT}"


async def test_what_cannot_be_judged_stops_it() -> None:
    held_back = answer()
    assert await held_back.read(PLAIN * 2) == PLAIN.rstrip()
    with pytest.raises(PieceNotJudgedError):
        await held_back.read(f"{PLAIN * 2}{POISON} {PLAIN * 2}")


async def test_a_model_that_is_away_may_be_asked_again() -> None:
    detector = FakeHarmDetector()
    held_back = answer(detector=detector)
    detector.unavailable = True
    with pytest.raises(DependencyError):
        await held_back.read(PLAIN * 2)
    detector.unavailable = False
    assert await held_back.read(PLAIN * 2) == PLAIN.rstrip()


@given(text=Texts, said=Texts)
async def test_what_goes_out_whole_was_judged_behind_what_went_out_or_does_not_go_out(text: str, said: str) -> None:
    detector = FakeHarmDetector()
    held_back = answer(detector=detector)
    out = await held_back.read(text, is_whole=True)
    if held_back.progress.is_over:
        return
    instead = await held_back.judge_apart(said)
    assert held_back.progress.is_over == ("harm=" in said)
    if "harm=" in said:
        assert instead == (f"\n\n{SAFE_TEXT}" if out.strip() else SAFE_TEXT)
        assert [finding.action.value for finding in held_back.findings] == ["rewrite"]
    else:
        assert instead == ""
        assert detector.assessed[-1].response.endswith(said) or not said


async def test_verdicts_are_kept_of_all_pieces() -> None:
    held_back = answer()
    await held_back.read(f"{PLAIN * 2}{HARM} {PLAIN}", is_whole=True)
    assert [verdict.action.value for verdict in held_back.verdicts] == ["allow", "allow", "rewrite"]


async def test_what_goes_out_whole_and_cannot_be_judged_stops_it() -> None:
    with pytest.raises(PieceNotJudgedError):
        await answer().judge_apart(POISON)


class Pairing(FakeHarmDetector):
    """Finds harm where two words stand in one text."""

    def __init__(self, *words: str) -> None:
        super().__init__()
        self._words = words

    def _assess(self, exchange: Exchange) -> Assessment | ItemFailure:
        if all(word in exchange.response for word in self._words):
            exchange = exchange.model_copy(update={"response": HARM})
        return super()._assess(exchange)


async def test_a_text_that_ends_an_answer_is_judged_behind_what_went_out() -> None:
    held_back = answer(detector=Pairing("get home", "Let us talk"))
    assert await held_back.read(f"{PLAIN}{HARM}", is_whole=True) == PLAIN.rstrip()
    assert held_back.progress.is_withheld


async def test_what_was_written_anew_ends_an_answer_and_is_judged_there_too() -> None:
    written = FakeDetoxifier(lambda _: "Something else, written anew.")
    held_back = answer(detoxifier=written)
    assert (await held_back.read(f"{PLAIN}{HARM} {PLAIN}", is_whole=True)).endswith("\n\nSomething else, written anew.")
    assert held_back.findings[-1].rewrite_method is RewriteMethod.GENERATE
    beside = answer(detoxifier=written, detector=Pairing("get home", "written anew"))
    assert (await beside.read(f"{PLAIN}{HARM}", is_whole=True)).endswith(f"\n\n{SAFE_TEXT}")
    assert beside.findings[-1].rewrite_method is RewriteMethod.COMPLETE


class Changing:
    """Leaves out the beginning of a text in which it finds a word. Implements `Moderates`."""

    def __init__(self, moderator: Moderator, word: str) -> None:
        self._moderator = moderator
        self._word = word

    async def moderate(self, events: Sequence[ConversationEvent]) -> list[Outcome]:
        outcomes = await self._moderator.moderate(events)
        left_out = {"action": Action.REWRITE, "rewrite_method": RewriteMethod.OMIT, "response": "[left out] The end."}
        return [
            outcome.model_copy(update=left_out) if self._word in str(event.response) else outcome
            for event, outcome in zip(events, outcomes, strict=True)
        ]


@pytest.mark.parametrize("language", ["en", "de"])
async def test_what_went_out_is_not_changed_afterwards(language: str) -> None:
    texts = {"en": SAFE_TEXT, "de": "Reden wir von etwas anderem."}
    rules = policy(safe_completions={"default": texts})
    moderator = Moderator(
        policy=rules,
        detector=FakeHarmDetector(),
        cache=MemoryVerdictCache(max_entries=1_000),
        metrics=RecordedMetrics(),
    )
    held_back = HeldBackAnswer(
        event(None), Changing(moderator, "Second"), rules.for_tenant("default"), name_language=lambda _: language
    )
    out = await held_back.read(f"{PLAIN}Second part, which is longer than the others are.", is_whole=True)
    assert out == f"{PLAIN.rstrip()}\n\n{texts[language]}"
    found = held_back.findings[-1]
    assert (found.rewrite_method, found.response) == (RewriteMethod.COMPLETE, texts[language])


async def test_what_passed_before_a_piece_that_cannot_be_judged_can_still_go_out() -> None:
    held_back = answer()
    with pytest.raises(PieceNotJudgedError):
        await held_back.read(f"{PLAIN * 3}{POISON} {PLAIN * 3}", is_whole=True)
    again = answer(progress=held_back.progress)
    assert await again.read(PLAIN * 2) == (PLAIN * 3).rstrip()


async def read_beside_danger(texts: dict[str, str], said: str) -> tuple[str, HeldBackAnswer]:
    """Return what goes out to somebody in danger, and what judged it."""
    danger = NeedRule(need="danger", threshold=0.5, completion="self_harm", answer_threshold=0.3)
    rules = policy().model_copy(update={"needs": (danger,), "safe_completions": {"default": SAFE_TEXT, **texts}})
    moderator = Moderator(
        policy=rules,
        detector=FakeHarmDetector(),
        cache=MemoryVerdictCache(max_entries=1_000),
        metrics=RecordedMetrics(),
    )
    held_back = HeldBackAnswer(event(None, prompt="need=danger"), moderator, rules, name_language=None)
    return await held_back.read(said, is_whole=True), held_back


async def test_somebody_in_danger_is_told_so_after_what_went_out_already() -> None:
    said = f"{PLAIN}This part is harm=0.35 and no other rule minds such a thing here. "
    out, _ = await read_beside_danger({"self_harm": "Please talk to somebody."}, said)
    assert out == f"{PLAIN.rstrip()}\n\nPlease talk to somebody."


async def test_somebody_in_danger_gets_no_other_text_where_theirs_may_not_be_released() -> None:
    out, held_back = await read_beside_danger({"self_harm": "harm=0.9"}, HARM)
    assert SAFE_TEXT not in out
    assert held_back.progress.is_withheld
