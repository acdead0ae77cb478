"""Examples for the generative detoxifier: harmful answers with safe ones in their place, and safe ones kept."""

import random
import re
from dataclasses import dataclass
from pathlib import Path

from protector_models.detoxification.rewrite_faults import is_looping
from protector_models.judges.refusals import is_refusal
from protector_models.records.examples import is_held_out, read_training_set, take_last_turn
from protector_models.records.excluded_texts import is_excluded_text
from protector_models.records.labelled_records import LabelledRecord

PAIR_SETS = {
    "gptfuzz/train": 1.0,
    "jbb_family/train": 1.0,
    "safetext/train": 1.0,
    "cipherchat/train": 1.0,
    "safe_unlearning/train": 1.0,
    "hh_rlhf_pairs/train": 0.3,
}
"""Sets of harmful answers with a safe one to the same question, and what a pair counts in the loss. The last one's
pairs are a person's preference between two answers: the better one is not always good."""

ALL_SETS = "all"

PREFERENCE_SETS = frozenset({"hh_rlhf_pairs/train"})
"""Sets whose records have no label: the answer was rejected, its pair preferred."""

IDENTITY_SETS = ("gpteacher/train", "halueval_general/train", "med_safety/train")
"""Sets of safe answers, refusals among them, that are to stay as they are."""

_SPEAKER = re.compile(r"\A\s*(?:\[[A-Za-z]{2,12}:?\]:?|[A-Z]{3,}:|\w*(?:GPT|Gpt)\w*:)\s*")
"""The name of a character that a jailbreak had the model play, before what it says."""
_NEXT_TURN = "assistant\n"
"""What a model wrote past the end of its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewrittenAnswer:
    """A question, an answer to it, and what is to stand in that answer's place."""

    prompt: str
    response: str
    target: str
    weight: float

    @property
    def is_identity(self) -> bool:
        """Whether the answer is to stay as it is."""
        return self.response == self.target


@dataclass(frozen=True, slots=True, kw_only=True)
class RewrittenAnswers:
    """All examples, cut by prompt: no prompt is on both sides."""

    training: list[RewrittenAnswer]
    held_out: list[RewrittenAnswer]


def load_rewritten_answers(
    directory: Path,
    *,
    pair_sets: str = ALL_SETS,
    refusal_share: float = 1.0,
    identity_share: float,
    validation_percent: int,
    seed: int,
) -> RewrittenAnswers:
    """Reads the pairs that lie under `directory`, and draws safe answers to stand beside them.

    Args:
        directory: holds one directory per set.
        pair_sets: those that are read: "all", or names of `PAIR_SETS` joined by commas.
        refusal_share: of pairs whose target opens as a refusal does among all pairs, at most, in [0, 1].
        identity_share: of safe answers that stay as they are among all examples, in [0, 0.9]; less where the sets have
            fewer.
        validation_percent: share of prompts held out, decided by a hash of the prompt alone.
        seed: of the draw.

    Rows with a text that occurs in a public benchmark are left out (`excluded_texts`), and so are safe answers that go
    round in circles or past their end.

    Raises:
        RecordError: evaluation data, a missing set, or a line that is no record.
        ValueError: no pair is left, a share is out of its range, or a set is none of pairs.
    """
    if not 0.0 <= identity_share <= 0.9:
        raise ValueError(f"identity_share: expected a number in [0, 0.9], got {identity_share}")
    if not 0.0 <= refusal_share <= 1.0:
        raise ValueError(f"refusal_share: expected a number in [0, 1], got {refusal_share}")
    pairs: list[RewrittenAnswer] = []
    for name in _name_sets(pair_sets):
        label = None if name in PREFERENCE_SETS else 1
        records = read_training_set(directory, name)
        found = (_to_pair(record, PAIR_SETS[name]) for record in records if record.label == label and record.pair)
        pairs += [example for example in found if _is_usable(example) and not example.is_identity]
    pairs = _thin_refusals(pairs, share=refusal_share, seed=seed)
    safe = [
        RewrittenAnswer(prompt=_clean(record.prompt), response=answer, target=answer, weight=1.0)
        for name in IDENTITY_SETS
        for record in read_training_set(directory, name)
        if record.label == 0 and (answer := _clean(record.response))
    ]
    kept = [example for example in safe if _is_usable(example)]
    num_kept = round(len(pairs) * identity_share / (1.0 - identity_share))
    examples = pairs + random.Random(seed).sample(kept, min(num_kept, len(kept)))
    held_out = [example for example in examples if is_held_out(example.prompt, percent=validation_percent)]
    training = [example for example in examples if not is_held_out(example.prompt, percent=validation_percent)]
    if all(example.is_identity for example in training):
        raise ValueError(f"{directory}: no pair of a harmful and a safe answer to train on")
    return RewrittenAnswers(training=training, held_out=held_out)


def _name_sets(pair_sets: str) -> list[str]:
    """Returns the names of the sets, each once, in the order of `PAIR_SETS`."""
    if pair_sets == ALL_SETS:
        return list(PAIR_SETS)
    names = set(pair_sets.split(","))
    if unknown := sorted(names - PAIR_SETS.keys()):
        raise ValueError(f"pair_sets: expected {ALL_SETS!r}, or some of {', '.join(PAIR_SETS)}; got {unknown[0]!r}")
    return [name for name in PAIR_SETS if name in names]


def _thin_refusals(pairs: list[RewrittenAnswer], *, share: float, seed: int) -> list[RewrittenAnswer]:
    """Draws of the pairs whose target is a refusal so many that they are at most a share of what is left, in order."""
    refusals = [place for place, pair in enumerate(pairs) if is_refusal(pair.target)]
    num_others = len(pairs) - len(refusals)
    if len(refusals) <= share * len(pairs):
        return pairs
    num_kept = int(num_others * share / (1.0 - share))
    left_out = set(refusals) - set(random.Random(seed).sample(refusals, num_kept))
    return [pair for place, pair in enumerate(pairs) if place not in left_out]


def _to_pair(record: LabelledRecord, weight: float) -> RewrittenAnswer:
    return RewrittenAnswer(
        prompt=_clean(take_last_turn(record.prompt)),
        response=_clean(record.response),
        target=_SPEAKER.sub("", _clean(record.pair)),
        weight=weight,
    )


def _is_usable(example: RewrittenAnswer) -> bool:
    if not (example.response and example.target) or _NEXT_TURN in example.target or is_looping(example.target):
        return False
    return not any(is_excluded_text(text) for text in (example.prompt, example.response, example.target))


def _clean(text: str) -> str:
    """Strips a text and puts question marks in place of lone surrogates, which no tokenizer takes."""
    return text.encode("utf-8", "replace").decode("utf-8").strip()
