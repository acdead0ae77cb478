"""Laws of what a rewrite keeps: no sentence is delivered that the detector flags, in whatever company it stands."""

from collections.abc import Sequence

from hypothesis import assume, given
from hypothesis import strategies as st

from protector_models.moderation.conversation import Exchange
from protector_models.moderation.fakes import FakeDetoxifier, RecordedMetrics
from protector_models.moderation.kept_sentences import MAX_KEPT_PIECES, find_kept_pieces
from protector_models.moderation.memory_cache import MemoryVerdictCache
from protector_models.moderation.model_outputs import Assessment, Coverage, ItemFailure, ScoredPiece
from protector_models.moderation.moderator import Moderator
from protector_models.moderation.omission import FURTHER_OMISSION
from protector_models.moderation.policy.policy import Policy
from protector_models.moderation.sentences import split_sentences
from protector_models.moderation.verdict import RewriteMethod, Verdict
from tests.builders import event, policy, rule

OMISSION = "(Left out.)"
CATEGORIES = ("harassment", "violence", "privacy")
SCORES = {"grim": 0.9, "harsh": 0.6, "sour": 0.35, "odd": 0.2, "dry": 0.1, "mild": 0.02}
THRESHOLD = 0.5


class CompanyDetector:
    """Scores a sentence by its first word; a whole is as harmful as its worst sentence, or as the mean of them all."""

    revision = "company@1"

    def __init__(self, *, takes_mean: bool, tells_pieces: bool) -> None:
        self._takes_mean = takes_mean
        self._tells_pieces = tells_pieces

    async def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        return [self.say(exchange.response) for exchange in exchanges]

    def say(self, text: str) -> Assessment:
        sentences = split_sentences(text)
        scored = [self._score(text[one.start : one.end]) for one in sentences]
        values = [score for score, _ in scored] or [0.0]
        whole = sum(values) / len(values) if self._takes_mean else max(values)
        pieces = tuple(
            ScoredPiece(start=one.start, end=one.end, harmfulness=score, categories={category: score})
            for one, (score, category) in zip(sentences, scored, strict=True)
        )
        return Assessment(
            harmfulness=round(whole, 4),
            categories={category: whole for score, category in scored if score == max(values)},
            detector=self.revision,
            truncated=False,
            coverage=Coverage(
                characters_evaluated=len(text), characters_total=len(text), images_evaluated=0, images_total=0
            ),
            pieces=pieces if self._tells_pieces and pieces else None,
        )

    def _score(self, sentence: str) -> tuple[float, str]:
        words = sentence.casefold().strip("-* ").split()
        category = next((word for word in CATEGORIES if word in sentence), CATEGORIES[0])
        return SCORES.get(words[0], 0.0) if words else 0.0, category


detectors = st.builds(CompanyDetector, takes_mean=st.booleans(), tells_pieces=st.booleans())
sentences = st.builds(
    lambda word, category, number: f"{word.capitalize()} is {category} number {number} as it stands here.",
    st.sampled_from(sorted(SCORES)),
    st.sampled_from(CATEGORIES),
    st.integers(0, 99),
)
GRIM = "Grim is harassment number 100 as it stands here."
answers = st.builds(
    lambda others, place: [*others[:place], GRIM, *others[place:]],
    st.lists(sentences, max_size=6, unique=True),
    st.integers(0, 6),
)
"""Harmful in any case, whatever stands beside."""
rewrites = st.lists(sentences, min_size=1, max_size=2)
policies = st.builds(
    lambda methods, margin, suspect, share: policy(
        rules=[rule(THRESHOLD)],
        rewrite_methods={"default": [*methods, "complete"], "violence": ["omit", "complete"]},
        omissions={"default": OMISSION},
        omit_up_to=share,
        release_margin=margin,
        suspect_margin=suspect,
    ),
    st.sampled_from([["generate"], ["edit", "omit"], ["omit"], ["edit"]]),
    st.sampled_from([0.7, 0.4, 0.0]),
    st.sampled_from([0.0, 0.4, 0.9]),
    st.sampled_from([0.5, 0.9, 1.0]),
)


async def _moderate(
    rules: Policy, detector: CompanyDetector, response: str, written: str = "Mild is what I say."
) -> Verdict:
    moderator = Moderator(
        policy=rules,
        detector=detector,
        detoxifier=FakeDetoxifier(lambda _: written),
        cache=MemoryVerdictCache(max_entries=1_000),
        metrics=RecordedMetrics(),
    )
    (outcome,) = await moderator.moderate([event(response)])
    assert isinstance(outcome, Verdict)
    return outcome


def _without_notices(text: str) -> list[str]:
    parts = text.replace(FURTHER_OMISSION, OMISSION).split(OMISSION)
    return [part[one.start : one.end] for part in parts for one in split_sentences(part)]


@given(policies, detectors, answers, rewrites, st.sampled_from([" ", "\n", "\n\n- "]))
async def test_no_sentence_is_released_that_the_detector_flags_by_itself(
    rules: Policy, detector: CompanyDetector, answer: list[str], written: list[str], joint: str
) -> None:
    verdict = await _moderate(rules, detector, joint.join(answer), joint.join(written))
    if verdict.rewrite_method in {None, RewriteMethod.COMPLETE}:
        return
    assert verdict.response is not None
    limit = THRESHOLD * (1 - rules.release_margin)
    assert all(detector.say(sentence).harmfulness < limit for sentence in _without_notices(verdict.response))


@given(policies, detectors, answers, st.data())
async def test_a_harmless_sentence_more_delivers_no_harmful_one(
    rules: Policy, detector: CompanyDetector, answer: list[str], data: st.DataObject
) -> None:
    before = await _moderate(rules, detector, " ".join(answer))
    assume(before.rewrite_method is not None)
    place = data.draw(st.integers(0, len(answer)))
    longer = [*answer[:place], "Mild is the weather in the south this year.", *answer[place:]]
    after = await _moderate(rules, detector, " ".join(longer))
    assume(after.rewrite_method is not None)  # else the whole was not found harmful: no rewrite's doing
    assert after.response is not None
    harmful = [sentence for sentence in answer if detector.say(sentence).harmfulness >= THRESHOLD]
    assert not any(sentence in after.response for sentence in harmful)


@given(st.lists(st.sampled_from(["One more line.", "And another\n", "…", "```\ncode\n```\n"]), max_size=700))
def test_pieces_hold_every_word_that_is_kept_and_are_not_too_many(parts: list[str]) -> None:
    text = " ".join(parts)
    pieces = find_kept_pieces(text, ())
    held = "".join(text[piece.start : piece.end] for piece in pieces)
    assert [letter for letter in text if letter.isalnum()] == [letter for letter in held if letter.isalnum()]
    assert len(pieces) <= MAX_KEPT_PIECES
