"""Examples for the edit model: toxic sentences with rewrites, and sentences that are to stay as they are."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from protector_models.detoxification.tagged_words import split_words
from protector_models.moderation.sentences import split_sentences
from protector_models.records.examples import is_held_out, read_training_set
from protector_models.records.excluded_texts import is_excluded_text
from protector_models.records.mix import BENIGN_SETS
from protector_models.training.detoxification.careful_rows import RewrittenSentence, load_careful_rows
from protector_models.training.detoxification.edit_alignment import WeightedRewrite
from protector_models.training.detoxification.edit_corruption import JudgedSentence

PAIR_SETS = {"paradetox/train": 1.0, "pseudoparadetox/train": 0.25}
"""Sets of toxic sentences and their rewrites, and how much a rewrite counts: the first are people's, the others a
machine's, which change more words than people do."""

JUDGED_SETS = ("paradetox/cannot_rewrite", "toxichat_reddit/turns")
"""Not davidson, sbic and decodingtrust: the judge that evaluation uses learned from those."""

KEPT_SETS = (
    "bold_neutral/train",
    "identity_groups/train",
    "identity_templates/train",
    "persona_statements/train",
    "seegull_frames/train",
    "written/safe",
)
"""Sets of which the harmless rows are kept as they are: sentences with names, titles and words for groups of people,
and answers that sound alarming and are not."""

_HUMAN_SET = "paradetox/train"
_MAX_PER_BENIGN_SET = 2_500
_MIN_WORDS, _MAX_WORDS = 4, 60


@dataclass(frozen=True, slots=True, kw_only=True)
class EditExamples:
    """Everything a run reads, cut by the toxic sentence."""

    training: list[RewrittenSentence]
    held_out: list[RewrittenSentence]
    """Each with at least one rewrite by people."""
    neutral: list[str]
    """Rewrites by people of the training sentences: nothing in them is to be edited."""
    safe: list[str]
    """Sentences of safe answers to ordinary prompts: nothing in them is to be edited."""
    held_out_safe: list[str]
    """Others of them, from answers that no training sentence is of."""
    judged: list[JudgedSentence]
    """Posts that people judged toxic or not, without a rewrite."""
    innocent: list[str]
    """Sentences written for this project with words that elsewhere are insults: nothing in them is to be edited."""
    held_out_innocent: list[str]
    careful: list[RewrittenSentence]
    """Toxic sentences with the same words, and edits written for this project."""
    held_out_careful: list[RewrittenSentence]
    kept: list[str]
    """Harmless sentences of `KEPT_SETS`."""
    held_out_kept: list[str]


def load_edit_examples(
    directory: Path, *, validation_percent: int, careful_validation_percent: int, seed: int
) -> EditExamples:
    """Reads the pairs and the safe sentences that lie under `directory`.

    Args:
        directory: holds one directory per set.
        validation_percent: share of toxic sentences held out, decided by a hash of the sentence alone.
        careful_validation_percent: likewise of the rows that were written for this project.
        seed: of the draw of safe sentences.

    Sentences that occur in a public benchmark are left out (`excluded_texts`).

    Raises:
        RecordError: evaluation data, a missing set, or a line that is no record.
    """
    rewrites: dict[str, list[WeightedRewrite]] = {}
    human: dict[str, list[str]] = {}
    for name, weight in PAIR_SETS.items():
        for record in read_training_set(directory, name):
            if not (record.text.strip() and record.pair.strip()) or is_excluded_text(record.text):
                continue
            rewrites.setdefault(record.text, []).append(WeightedRewrite(text=record.pair, weight=weight))
            if name == _HUMAN_SET:
                human.setdefault(record.text, []).append(record.pair)
    training: list[RewrittenSentence] = []
    held_out: list[RewrittenSentence] = []
    for source, weighted in rewrites.items():
        by_people = tuple(human.get(source, ()))
        sentence = RewrittenSentence(source=source, rewrites=tuple(weighted), human_rewrites=by_people)
        if not is_held_out(source, percent=validation_percent):
            training.append(sentence)
        elif by_people:
            held_out.append(sentence)
    safe = _draw_safe_sentences(directory, random.Random(seed))
    kept = _read_kept_sentences(directory)
    rows = load_careful_rows(held_out_percent=careful_validation_percent)
    return EditExamples(
        training=training,
        held_out=held_out,
        neutral=[rewrite for sentence in training for rewrite in sentence.human_rewrites],
        safe=[sentence for sentence in safe if not is_held_out(sentence, percent=validation_percent)],
        held_out_safe=[sentence for sentence in safe if is_held_out(sentence, percent=validation_percent)],
        judged=_read_judged(directory),
        innocent=rows.innocent,
        held_out_innocent=rows.held_out_innocent,
        careful=rows.pairs,
        held_out_careful=rows.held_out_pairs,
        kept=[sentence for sentence in kept if not is_held_out(sentence, percent=validation_percent)],
        held_out_kept=[sentence for sentence in kept if is_held_out(sentence, percent=validation_percent)],
    )


def _draw_safe_sentences(directory: Path, rng: random.Random) -> list[str]:
    """Draws one sentence of each safe answer."""
    drawn: list[str] = []
    for name in BENIGN_SETS:
        answers = [record.response for record in read_training_set(directory, name) if record.response]
        for answer in rng.sample(answers, min(len(answers), _MAX_PER_BENIGN_SET)):
            fitting = _fitting_sentences(answer)
            if fitting:
                drawn.append(rng.choice(fitting))
    return drawn


def _read_kept_sentences(directory: Path) -> list[str]:
    """Reads every sentence of the harmless rows, whichever field they have."""
    texts = [
        record.text or record.response
        for name in KEPT_SETS
        for record in read_training_set(directory, name)
        if record.label == 0
    ]
    return list(dict.fromkeys(sentence for text in texts for sentence in _fitting_sentences(text)))


def _read_judged(directory: Path) -> list[JudgedSentence]:
    return [
        JudgedSentence(text=record.text, toxic=float(record.label), fluent=None)
        for name in JUDGED_SETS
        for record in read_training_set(directory, name)
        if record.label is not None and record.text.strip() and not is_excluded_text(record.text)
    ]


def _fitting_sentences(answer: str) -> Sequence[str]:
    sentences = [answer[sentence.start : sentence.end] for sentence in split_sentences(answer)]
    return [
        sentence
        for sentence in sentences
        if _MIN_WORDS <= len(split_words(sentence)) <= _MAX_WORDS and not is_excluded_text(sentence)
    ]
