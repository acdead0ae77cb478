"""How fast the detector is: texts of three lengths, against the same network as transformers and torch run it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.bench.report import Comparison, Progress, compare
from pipelines.bench.word_texts import WordTexts
from protector_models.detectors.harm_detector import TOKENIZER_FILE, OnnxHarmDetector
from protector_models.detectors.plain_encoder import PlainEncoder
from protector_models.moderation.conversation import Exchange

LENGTHS = (64, 128, 256)
"""Of the texts, in tokens. An answer of 256 takes the detector two overlapping windows, 296 tokens in all."""

_PLAIN_BATCH = 8
_WARM_UP_TEXTS = 16
_SEED = 20_261_121


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorBenchmark:
    """What is measured, and how often."""

    weights: Path
    num_threads: int
    """Of both sides."""
    num_texts: int
    """Texts of each length in one measurement, at least 1."""
    repeats: int


def run_detector_benchmark(benchmark: DetectorBenchmark, progress: Progress) -> dict[int, Comparison]:
    """Measures both in turn, length by length; returns a comparison for each length.

    Both sides begin with a string and end with a score, and both use the same number of threads.

    Raises:
        CheckpointError: the weights cannot be used.
    """
    progress(f"loading {benchmark.weights.name} twice: as it is served, and with transformers")
    detector = OnnxHarmDetector.load(benchmark.weights, num_threads=benchmark.num_threads)
    plain = PlainEncoder.load(benchmark.weights, num_threads=benchmark.num_threads, batch_size=_PLAIN_BATCH)
    sides: dict[str, Callable[[Sequence[str]], object]] = {
        "served": lambda texts: detector.assess([Exchange(prompt="", response=text) for text in texts]),
        "plain": plain.score,
    }
    texts = make_texts(benchmark.weights / TOKENIZER_FILE, benchmark.num_texts)
    per_s: dict[tuple[str, int], list[float]] = {(side, length): [] for side in sides for length in LENGTHS}
    for repeat in range(benchmark.repeats):
        for length in LENGTHS:
            for side, score in sides.items():
                score(texts[length][:_WARM_UP_TEXTS])
                started = time.perf_counter()
                score(texts[length])
                per_s[side, length].append(benchmark.num_texts / (time.perf_counter() - started))
            progress(
                f"repeat {repeat + 1} of {benchmark.repeats}: {length} tokens: "
                f"{per_s['served', length][-1]:.0f} against {per_s['plain', length][-1]:.0f} texts/s"
            )
    return {
        length: compare(
            f"detector, {length} tokens, {benchmark.num_threads} threads",
            against_what=f"transformers and torch in fp32, {_PLAIN_BATCH} texts a batch, same weights and threads",
            values=per_s["served", length],
            against=per_s["plain", length],
            unit="texts/s",
        )
        for length in LENGTHS
    }


def make_texts(tokenizer_file: Path, number: int) -> dict[int, list[str]]:
    """Returns texts by their exact number of tokens, drawn with a fixed seed."""
    words = WordTexts(tokenizer_file, seed=_SEED)
    return {length: [" ".join(words.draw(length)) for _ in range(number)] for length in LENGTHS}
