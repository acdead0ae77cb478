"""How fast the edit model is: short texts, half of them toxic, against its encoder as transformers and torch run it."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.bench.report import Comparison, Progress, compare
from pipelines.bench.word_texts import WordTexts
from protector_models.detoxification.edit_model import EDIT_TOKENIZER_FILE, EditModel
from protector_models.speed_baselines.base_encoder import PlainBaseEncoder

LENGTH = 32
"""Of the texts, in tokens."""

_PLAIN_BATCH = 8
_WARM_UP_TEXTS = 16
_SEED = 20_261_121
_TOXIC_WORDS = ("idiot", "stupid", "dumb", "shit", "fucking", "bitch", "bastard", "crap")
_TOXIC_WORDS_PER_TEXT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class DetoxifierBenchmark:
    """What is measured, and how often."""

    weights: Path
    num_threads: int
    """Of both sides."""
    num_texts: int
    """In one measurement, at least 2."""
    repeats: int


def run_detoxifier_benchmark(benchmark: DetoxifierBenchmark, progress: Progress) -> Comparison:
    """Measures both in turn.

    The edit model begins with a string and ends with one: sentences, tokens, the network once for each sentence and
    again for each candidate, edits. The other side runs the encoder once on each text, in batches, and makes nothing of
    it: what that costs is the least that any model of this size takes without int8.

    Raises:
        CheckpointError: the weights cannot be used, or the base encoder is not installed.
    """
    progress(f"loading {benchmark.weights.name}, and its encoder with transformers")
    editor = EditModel.load(benchmark.weights, num_threads=benchmark.num_threads)
    sides: dict[str, Callable[[Sequence[str]], object]] = {
        "edit model": editor.edit,
        "plain": PlainBaseEncoder.load(num_threads=benchmark.num_threads, batch_size=_PLAIN_BATCH).run,
    }
    texts = make_short_texts(benchmark.weights / EDIT_TOKENIZER_FILE, benchmark.num_texts)
    per_s: dict[str, list[float]] = {side: [] for side in sides}
    for repeat in range(benchmark.repeats):
        for side, run in sides.items():
            run(texts[:_WARM_UP_TEXTS])
            started = time.perf_counter()
            run(texts)
            per_s[side].append(benchmark.num_texts / (time.perf_counter() - started))
        progress(
            f"repeat {repeat + 1} of {benchmark.repeats}: "
            f"{per_s['edit model'][-1]:.0f} against {per_s['plain'][-1]:.0f} texts/s"
        )
    num_edited = sum(text != edited for text, edited in zip(texts, editor.edit(texts), strict=True))
    return compare(
        f"edit model, {LENGTH} tokens, {benchmark.num_threads} threads, {num_edited} of {len(texts)} texts edited",
        against_what=f"one pass of the encoder in fp32, transformers and torch, {_PLAIN_BATCH} texts a batch",
        values=per_s["edit model"],
        against=per_s["plain"],
        unit="texts/s",
    )


def make_short_texts(tokenizer_file: Path, number: int) -> list[str]:
    """Returns texts of exactly `LENGTH` tokens, drawn with a fixed seed; every second one has toxic words in it."""
    words = WordTexts(tokenizer_file, seed=_SEED)
    rng = random.Random(_SEED)
    texts = []
    for place in range(number):
        text = words.draw(LENGTH)
        if place % 2:
            for position in rng.sample(range(LENGTH), _TOXIC_WORDS_PER_TEXT):
                text[position] = rng.choice(_TOXIC_WORDS)
        texts.append(" ".join(text))
    return texts
