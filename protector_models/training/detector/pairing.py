"""Pairing an accurate detector with a fast one: thresholds for the two as they are served together."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from protector_models.checkpoints.cards import CheckpointCard, Pairing
from protector_models.detectors.shipped.detector_heads import WindowLogits
from protector_models.detectors.shipped.harm_detector import OnnxHarmDetector
from protector_models.detectors.shipped.pair_scorer import CalibratedScorer, PairScorer
from protector_models.detectors.shipped.scorer_loading import load_scorer
from protector_models.detectors.shipped.weights_in_use import (
    ACCURATE_FOLDER,
    WeightsInUse,
    make_pair_card,
    name_for_pairing,
)
from protector_models.detectors.shipped.window_layout import TokenPair
from protector_models.detectors.shipped.window_scorer import WindowScorer
from protector_models.records.examples import Example
from protector_models.training.detector.held_out import HeldOutScores, judge_held_out, score_held_out
from protector_models.training.detector.thresholds import THRESHOLD_RULE


@dataclass(frozen=True, slots=True, kw_only=True)
class PairPlan:
    """How two detectors go together; chosen on the held-out slice (docs/experiments.md)."""

    low: float = 0.2
    high: float = 0.85
    accurate_share: float = 0.5


def pair_detectors(
    directory: Path,
    validation: Sequence[Example],
    *,
    tokenizer: Tokenizer,
    plan: PairPlan,
    num_threads: int,
    report_rows: Callable[[int], None],
) -> CheckpointCard:
    """Choose the thresholds of a pair on held-out rows, and write them into the accurate detector's card.

    Args:
        directory: of the fast detector, with the accurate one in its folder `accurate`.
        validation: held-out examples.
        tokenizer: of both.
        plan: what is sent on, and how scores are joined.
        num_threads: of the scoring.
        report_rows: called with the number of rows scored since the last call.

    Returns:
        The pair's card.

    Raises:
        CheckpointError: a detector is missing or damaged, or the two do not go together.
        ValueError: the held-out slice cannot give a threshold.
    """
    fast, accurate = (CheckpointCard.load(one) for one in (directory, directory / ACCURATE_FOLDER))
    pairing = Pairing(
        fast=name_for_pairing(fast),
        band=(plan.low, plan.high),
        accurate_share=plan.accurate_share,
        threshold=0.5,
        threshold_rule="not chosen yet",
        budget_thresholds={},
        validation={},
    )
    card = make_pair_card(fast, accurate, pairing)
    first = _CountingScorer(_load(directory, fast, num_threads))
    second = _CountingScorer(_load(directory / ACCURATE_FOLDER, accurate, num_threads))
    scorer = PairScorer(
        CalibratedScorer(scorer=first, calibrations=fast.calibrations),
        CalibratedScorer(scorer=second, calibrations=accurate.calibrations),
        band=pairing.band,
        accurate_share=pairing.accurate_share,
    )
    detector = OnnxHarmDetector.compose(directory, card, scorer)
    held_out = score_held_out(detector, validation, tokenizer, report_rows=report_rows)
    judged = judge_held_out(
        HeldOutScores.of(held_out.answers, held_out.logits, card.calibrations),
        HeldOutScores.of(held_out.alone, held_out.logits_alone, card.calibrations),
        category_names=card.categories,
    )
    pairing = pairing.model_copy(
        update={
            "threshold": judged.choice.threshold,
            "threshold_rule": THRESHOLD_RULE,
            "budget_thresholds": judged.budget_thresholds,
            "validation": judged.figures | {"share_read_by_both": round(second.num_windows / first.num_windows, 4)},
        }
    )
    accurate.model_copy(update={"pairing": pairing}).save(directory / ACCURATE_FOLDER)
    return make_pair_card(fast, accurate, pairing)


def _load(directory: Path, card: CheckpointCard, num_threads: int) -> WindowScorer:
    weights = WeightsInUse(directory=directory, card=card)
    return load_scorer(weights, num_threads=num_threads, engine="onnx", device="cpu")


class _CountingScorer:
    """Counts the windows that an engine is given. Implements `WindowScorer`."""

    def __init__(self, scorer: WindowScorer) -> None:
        self._scorer = scorer
        self.num_windows = 0

    @property
    def engine(self) -> str:
        return self._scorer.engine

    @property
    def tells_pieces_apart(self) -> bool:
        return self._scorer.tells_pieces_apart

    def score(self, windows: Iterable[TokenPair]) -> list[WindowLogits]:
        found = self._scorer.score(windows)
        self.num_windows += len(found)
        return found
