"""How fast a detector is: texts of three lengths, against the same network as transformers and torch run it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipelines.bench.answer_texts import AnswerTexts
from pipelines.bench.report import Comparison, Progress, compare
from protector_models.descriptions.checkpoint_description import load_description
from protector_models.detectors.choice import find_weights
from protector_models.detectors.classifiers.classifier_detector import ClassifierDetector
from protector_models.detectors.shipped.harm_detector import OnnxHarmDetector
from protector_models.detectors.shipped.weights_in_use import SHIPPED_WEIGHTS, TOKENIZER_FILE
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.errors import ConfigurationError
from protector_models.running.model_threads import SynchronousHarmDetector
from protector_models.settings import DetectorSettings
from protector_models.speed_baselines.classifier import PlainClassifier
from protector_models.speed_baselines.shipped_encoder import PlainShippedEncoder

LENGTHS = (64, 128, 256)
"""Of the texts, in tokens of the shipped tokenizer. An answer of 256 takes the shipped detector two windows or
three, which share some tokens."""

_PLAIN_BATCH = 8
_WARM_UP_TEXTS = 16
_SEED = 20_261_121


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorBenchmark:
    """What is measured, and how often."""

    detector: DetectorSettings
    """Of kind "onnx", which is compared with the fast detector of its weights, or "transformers", a classifier."""
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
        ConfigurationError: the classifier cannot be loaded, or the settings are of another kind.
        ModelUnavailableError: the device failed.
    """
    progress("loading the detector twice: as it is served, and with transformers")
    contest = _load(benchmark.detector, num_threads=benchmark.num_threads)
    sides: dict[str, Callable[[Sequence[str]], object]] = {
        "served": lambda texts: contest.served.assess([Exchange(prompt="", response=text) for text in texts]),
        "plain": contest.plain.score,
    }
    texts = make_texts(SHIPPED_WEIGHTS / TOKENIZER_FILE, benchmark.num_texts)
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
            f"detector {contest.served.revision}, {length} tokens, {contest.device}, {benchmark.num_threads} threads",
            against_what=(
                f"transformers and torch in {contest.plain_type}, {_PLAIN_BATCH} texts a batch, "
                f"{contest.plain_weights} weights, same threads"
            ),
            values=per_s["served", length],
            against=per_s["plain", length],
            unit="texts/s",
        )
        for length in LENGTHS
    }


class _ScoresTexts(Protocol):
    def score(self, texts: Sequence[str]) -> list[float]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contest:
    served: SynchronousHarmDetector
    plain: _ScoresTexts
    plain_type: str
    plain_weights: str
    device: str


def _load(detector: DetectorSettings, *, num_threads: int) -> _Contest:
    if detector.kind == "onnx":
        if detector.engine != "onnx":
            raise ConfigurationError(f"detector.engine: expected 'onnx' to measure, got {detector.engine!r}")
        directory = find_weights(detector)
        return _Contest(
            served=OnnxHarmDetector.load(
                directory,
                num_threads=num_threads,
                weights=detector.weights,
                max_windows=detector.max_windows,
            ),
            plain=PlainShippedEncoder.load(directory, num_threads=num_threads, batch_size=_PLAIN_BATCH),
            plain_type="fp32",
            plain_weights="the fast detector's",
            device="cpu",
        )
    if detector.kind != "transformers" or detector.description is None:
        raise ConfigurationError(f"detector.kind: expected 'onnx' or 'transformers' to measure, got {detector.kind!r}")
    description = load_description(detector.description)
    return _Contest(
        served=ClassifierDetector.load(detector, description, num_threads=num_threads),
        plain=PlainClassifier.load(detector, num_threads=num_threads, batch_size=_PLAIN_BATCH),
        plain_type=detector.dtype,
        plain_weights="the same",
        device=detector.device,
    )


def make_texts(tokenizer_file: Path, number: int) -> dict[int, list[str]]:
    """Returns texts by their exact number of tokens, drawn with a fixed seed."""
    answers = AnswerTexts(tokenizer_file, seed=_SEED)
    return {length: answers.draw(number, length) for length in LENGTHS}
