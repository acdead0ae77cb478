"""From the scores of a sentence's words to an edited sentence.

The model says of each word how likely people edit it. The surest edits are made first; if the sentence then still reads
as toxic, less sure ones are made as well, step by step. So a sentence loses no more than it has to.

Shapes: W words, K edit tags.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from protector_models.edit_words import DELETE, KEEP, Word, apply_tags

Probability = Annotated[float, Field(gt=0.0, lt=1.0)]


class DecodingPlan(BaseModel):
    """What is chosen after training, on held-out sentences; part of the model's revision."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    toxic_from: Probability = 0.5
    """A sentence less likely to be toxic is left alone, and an edited one is good."""
    steps: tuple[Probability, ...] = (0.9, 0.7, 0.5, 0.3, 0.15)
    """Falling: words at least so likely to be edited are edited, until the sentence is not toxic."""
    deletion_penalty: Annotated[float, Field(ge=0.0)] = 0.75
    """Taken off the logit of leaving a word out, which would otherwise be preferred to any one of its replacements."""


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


def edit_sentence(sentence: str, scorer: SentenceScorer, tag_names: Sequence[str], plan: DecodingPlan) -> str:
    """Edits a sentence.

    Args:
        sentence: any text without line breaks that matter.
        scorer: run once on the sentence, and once on each candidate.
        tag_names: what the K tags stand for.
        plan: how sure the model must be.

    Returns:
        The sentence itself where it is not toxic; of the candidates the first that is not toxic, or else the one that
        is least so; an empty text where all of it would have to go.

    Raises:
        FloatingPointError: a score is not a finite number.
    """
    scores = scorer.score(sentence)
    if scores.toxic < plan.toxic_from:
        return sentence
    best, least_toxic = sentence, scores.toxic
    for candidate in _candidates(sentence, scores, tag_names, plan):
        if not candidate:
            return ""
        toxic = scorer.score(candidate).toxic
        if toxic < plan.toxic_from:
            return candidate
        if toxic < least_toxic:
            best, least_toxic = candidate, toxic
    return best


def _candidates(sentence: str, scores: SentenceScores, tag_names: Sequence[str], plan: DecodingPlan) -> Iterator[str]:
    """Yields the sentence with ever more edits; no candidate twice."""
    logits_WK = scores.tag_logits_WK - plan.deletion_penalty * np.array([name == DELETE for name in tag_names])
    tags = [tag_names[tag] for tag in logits_WK.argmax(axis=1)] if scores.words else []
    num_before = 0
    for threshold in plan.steps:
        is_edited_W = scores.edited_W >= threshold
        num_edited = int(is_edited_W.sum())
        if num_edited == num_before:
            continue
        num_before = num_edited
        chosen = [tag if is_edited else KEEP for tag, is_edited in zip(tags, is_edited_W, strict=True)]
        yield apply_tags(sentence, scores.words, chosen)
