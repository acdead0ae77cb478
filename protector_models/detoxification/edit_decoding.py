"""From the scores of a sentence's words to an edited sentence.

The model says of each word how likely people edit it, and of a whole sentence how likely it is toxic and how likely
people would write it. The surest edits are made first, then less sure ones step by step; each candidate is read by the
model again, and the one that is worth most is taken: not toxic, with as much as possible left of the sentence, and
still a sentence. Where the best one does not read like one, other words are tried in the places of its edits.

Shapes: W words, K edit tags.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from protector_models.detoxification.broken_sentences import find_fault
from protector_models.detoxification.protected_words import find_protected
from protector_models.detoxification.tagged_words import DELETE, KEEP, Word, append_tag, apply_tags, replace_tag

Probability = Annotated[float, Field(gt=0.0, lt=1.0)]
Weight = Annotated[float, Field(ge=0.0)]

_PRAISE = ("good", "great", "smart", "nice", "best", "better", "right", "well", "intelligent", "clever", "wise", "kind")
_NEGATIONS = ("not", "no", "never", "don't", "didn't", "i don't", "are not", "is not", "was not", "not right")
_HALF_A_PHRASE = (
    *(replace_tag([word]) for word in (*_PRAISE, *_NEGATIONS, "live", "love", "do not", "does not")),
    *(append_tag([word]) for word in _NEGATIONS),
)
_TINY = 1e-4
_DISCOURAGED = 5.0
"""Taken off a logit: what is left of it is still there for repairs."""
_LEAST_KEPT = 0.1
"""Less counts as this much: what is insult from end to end may go, if the model is sure of it."""


class DecodingPlan(BaseModel):
    """What is chosen after training, on held-out sentences; part of the model's revision."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    toxic_from: Probability = 0.5
    """A sentence less likely to be toxic is left alone."""
    toxic_enough: Probability = 0.1
    """Once a candidate is less likely to be toxic, no further edits are tried."""
    steps: tuple[Probability, ...] = (0.99, 0.97, 0.9, 0.8, 0.65, 0.5, 0.3, 0.15)
    """Falling: each candidate edits the words that are at least so likely to be edited."""
    deletion_penalty: Weight = 0.75
    """Taken off the logit of leaving a word out, which would otherwise be preferred to any one of its replacements."""
    deletion_from: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.4
    """A word that is edited may be left out where so large a share of edits would do that: where most people put
    something in its place, a sentence without it is rarely one."""
    blocked_tags: tuple[str, ...] = _HALF_A_PHRASE
    """Never taken: where people write "not good" for an insult, half of it says the opposite, and twice half of it
    neither."""
    kept_weight: Weight = 2.5
    """Of the logarithm of the share of characters that are left as they were, beside the logarithm of not being toxic;
    so for the other weights."""
    fluent_weight: Weight = 0.2
    unlikely_weight: Weight = 0.6
    """Of the log odds against each edit that is less likely than not."""
    fluent_least: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.05
    """A candidate less likely to be fluent is broken, whatever the rules of `find_fault` say."""
    fluent_kept: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.5
    """So is one whose chance to be fluent falls below this share of the sentence's before it was edited."""
    least_left: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.3
    """Share of a sentence's letters that has to be left; where it is not, the sentence is an insult as a whole."""
    fluent_from: Probability = 0.6
    """Where the best candidate is less likely to be fluent, other words are tried."""
    num_repairs: Annotated[int, Field(ge=0)] = 8
    """How many other words are tried, one at a time."""
    repair_weight: Weight = 0.3
    """Of the logit that another word has less than the first choice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentenceScores:
    """What the model says of a sentence."""

    words: tuple[Word, ...]
    edited_W: npt.NDArray[np.float64]
    """How likely people edit each word, in [0, 1]; 0 for words that may not be edited."""
    tag_logits_WK: npt.NDArray[np.float32]
    toxic: float
    """How likely the sentence is toxic, in [0, 1]."""
    fluent: float
    """How likely it is one that people write, in [0, 1]."""


class SentenceScorer(Protocol):
    """Runs an edit model on one sentence. Blocks; several threads may call it at once."""

    def score(self, sentence: str) -> SentenceScores:
        """Scores a sentence, which may be empty.

        Raises:
            FloatingPointError: a score is not a finite number.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    text: str
    tags: tuple[str, ...]
    worth: float
    toxic: float
    fluent: float
    is_broken: bool


def edit_sentence(sentence: str, scorer: SentenceScorer, tag_names: Sequence[str], plan: DecodingPlan) -> str | None:
    """Edits a sentence.

    Args:
        sentence: any text.
        scorer: run once on the sentence, and once on each candidate: at most as many as the plan has steps and repairs.
        tag_names: what the K tags stand for.
        plan: how a candidate is chosen.

    Returns:
        The sentence itself where it is not toxic, or where every edit would cost more than it gains; an empty text
        where all of it would have to go; None where every edit that is worth making leaves a broken sentence.

    Raises:
        FloatingPointError: a score is not a finite number.
    """
    scores = scorer.score(sentence)
    if scores.toxic < plan.toxic_from or not scores.words:
        return sentence
    is_free_W = ~np.array(find_protected(sentence, scores.words), dtype=bool)
    scores = replace(scores, edited_W=np.where(is_free_W, scores.edited_W, 0.0))
    penalty_K = np.array(
        [
            plan.deletion_penalty if name == DELETE else math.inf if name in plan.blocked_tags else 0.0
            for name in tag_names
        ]
    )
    logits_WK = _discourage(scores.tag_logits_WK - penalty_K, scores.tag_logits_WK, tag_names, plan)
    decoder = _Decoder(sentence, scores, logits_WK, scorer, tag_names, plan)
    unedited = decoder.weigh((KEEP,) * len(scores.words), 0.0)
    candidates = [unedited]
    for tags in decoder.steps():
        candidates.append(decoder.weigh(tags, 0.0))
        if candidates[-1].toxic < plan.toxic_enough:
            break
    best = _most_worth(candidates)
    if best.text and best is not unedited and (best.is_broken or best.fluent < plan.fluent_from):
        candidates += decoder.repairs(best)
        best = _most_worth(candidates)
    if not best.is_broken:
        return best.text
    whole = _most_worth([candidate for candidate in candidates if not candidate.is_broken])
    return None if whole is unedited else whole.text


def _discourage(
    logits_WK: npt.NDArray[np.float64], raw_WK: npt.NDArray[np.float32], tag_names: Sequence[str], plan: DecodingPlan
) -> npt.NDArray[np.float64]:
    """Puts leaving a word out behind all that may take its place, where too few would leave it out."""
    if DELETE not in tag_names:
        return logits_WK
    deletion = tag_names.index(DELETE)
    exp_WK = np.exp(raw_WK - raw_WK.max(axis=1, keepdims=True))
    is_rare_W = exp_WK[:, deletion] < plan.deletion_from * exp_WK.sum(axis=1)
    logits_WK[is_rare_W, deletion] -= _DISCOURAGED
    return logits_WK


def _most_worth(candidates: Sequence[_Candidate]) -> _Candidate:
    return max(candidates, key=lambda candidate: candidate.worth)


class _Decoder:
    """Makes candidates of one sentence and says what they are worth."""

    def __init__(
        self,
        sentence: str,
        scores: SentenceScores,
        logits_WK: npt.NDArray[np.float64],
        scorer: SentenceScorer,
        tag_names: Sequence[str],
        plan: DecodingPlan,
    ) -> None:
        self._sentence = sentence
        self._scores = scores
        self._logits_WK = logits_WK
        self._scorer = scorer
        self._tag_names = tag_names
        self._plan = plan
        self._first_WK = logits_WK.argmax(axis=1)

    def steps(self) -> Iterator[tuple[str, ...]]:
        """Yields the tags of ever more edits; none twice."""
        num_before = 0
        for threshold in self._plan.steps:
            is_edited_W = self._scores.edited_W >= threshold
            num_edited = int(is_edited_W.sum())
            if num_edited > num_before:
                num_before = num_edited
                yield _once(
                    [
                        self._tag_names[tag] if is_edited else KEEP
                        for tag, is_edited in zip(self._first_WK, is_edited_W, strict=True)
                    ]
                )

    def repairs(self, best: _Candidate) -> Iterator[_Candidate]:
        """Yields candidates that are no more toxic and have one edit made in another way, the likeliest ways first."""
        others: list[tuple[float, int, str]] = []
        for place, tag in enumerate(best.tags):
            if tag == KEEP:
                continue
            logits_K = self._logits_WK[place]
            loss_K = logits_K.max() - logits_K
            ranked = np.argsort(loss_K, kind="stable")[: self._plan.num_repairs + 1]
            others += [
                (float(loss_K[other]), place, self._tag_names[other])
                for other in ranked
                if self._tag_names[other] != tag and np.isfinite(loss_K[other])
            ]
        for loss, place, other_tag in sorted(others)[: self._plan.num_repairs]:
            tags = _once([*best.tags[:place], other_tag, *best.tags[place + 1 :]])
            candidate = self.weigh(tags, loss)
            if candidate.text and candidate.toxic <= max(best.toxic, self._plan.toxic_enough):
                yield candidate

    def weigh(self, tags: tuple[str, ...], repair_loss: float) -> _Candidate:
        """Reads the sentence with the edits of `tags`."""
        plan = self._plan
        text = apply_tags(self._sentence, self._scores.words, tags)
        scores = self._scores if text == self._sentence else self._scorer.score(text)
        lengths = [word.end - word.start for word in self._scores.words]
        kept = sum(length for length, tag in zip(lengths, tags, strict=True) if tag == KEEP) / sum(lengths)
        edited = [self._scores.edited_W[place] for place, tag in enumerate(tags) if tag != KEEP]
        worth = (
            math.log(max(_TINY, 1.0 - scores.toxic))
            + plan.kept_weight * math.log(max(_LEAST_KEPT, kept))
            + plan.fluent_weight * math.log(max(_TINY, scores.fluent))
            - plan.unlikely_weight * sum(max(0.0, -_log_odds(probability)) for probability in edited)
            - plan.repair_weight * repair_loss
        )
        is_edited = text != self._sentence
        return _Candidate(
            text=text,
            tags=tags,
            worth=worth,
            toxic=scores.toxic,
            fluent=scores.fluent,
            is_broken=is_edited and bool(text) and self._is_broken(tags, text, scores.fluent),
        )

    def _is_broken(self, tags: tuple[str, ...], text: str, fluent: float) -> bool:
        if fluent < max(self._plan.fluent_least, self._plan.fluent_kept * self._scores.fluent):
            return True
        return find_fault(self._sentence, self._scores.words, tags, text, self._plan.least_left) is not None


def _once(tags: Sequence[str]) -> tuple[str, ...]:
    """Leaves a word out that would get the same words in its place as the word before it: not "people people"."""
    kept: list[str] = []
    before = KEEP
    for tag in tags:
        is_again = tag == before and tag not in {KEEP, DELETE}
        kept.append(DELETE if is_again else tag)
        before = before if tag == DELETE else tag
    return tuple(kept)


def _log_odds(probability: float) -> float:
    bounded = min(max(probability, _TINY), 1.0 - _TINY)
    return math.log(bounded / (1.0 - bounded))
