"""Scores that the judges give single rewrites, and the figures of a row that are made of them.

Shapes: N texts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np
from sacrebleu.metrics.chrf import CHRF

from protector_models.evaluation.detoxification.pair_sets import ToxicText
from protector_models.evaluation.detoxification.report import RewriteRow
from protector_models.evaluation.metrics import Estimate, Rows, Scores, estimate_rows
from protector_models.evaluation.report import Span
from protector_models.judges.shipped_judges import TextJudges

TOXIC_FROM = 0.5
_NUM_RESAMPLES = 1_000
_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TextScores:
    """Scores of the rewrites of one row, in the order of its texts."""

    sta_N: Scores
    """1 where the judge of toxicity calls the rewrite harmless, else 0."""
    sim_N: Scores
    chrf_N: Scores
    chrf_cased_N: Scores
    fluency_N: Scores
    edit_rate_N: Scores
    changed_N: Scores
    """1 where the rewrite differs from its source, else 0."""

    def j(self) -> Scores:
        """Returns the product of STA, SIM and ChrF of each text."""
        return self.sta_N * self.sim_N * self.chrf_N

    def by_figure(self) -> dict[str, Scores]:
        """Returns what each figure of a row is the mean of."""
        return {
            "sta": self.sta_N,
            "sim": self.sim_N,
            "chrf": self.chrf_N,
            "chrf_cased": self.chrf_cased_N,
            "fluency": self.fluency_N,
            "j": self.j(),
            "j_fluency": self.j() * self.fluency_N,
            "edit_rate": self.edit_rate_N,
            "changed": self.changed_N,
        }


def score_rewrites(items: Sequence[ToxicText], rewrites: Sequence[str], judges: TextJudges) -> TextScores:
    """Scores each rewrite, in order."""
    sources = [item.source for item in items]
    pairs = list(zip(items, rewrites, strict=True))
    toxicity_N = np.array(judges.toxicity.score(rewrites), dtype=np.float64)
    return TextScores(
        sta_N=(toxicity_N < TOXIC_FROM).astype(np.float64),
        sim_N=np.array(judges.similarity.compare(sources, rewrites), dtype=np.float64),
        chrf_N=np.array([chrf(rewrite, item.references) for item, rewrite in pairs], dtype=np.float64),
        chrf_cased_N=np.array(
            [chrf(rewrite, item.references, cased=True) for item, rewrite in pairs], dtype=np.float64
        ),
        fluency_N=np.array(judges.fluency.score(rewrites), dtype=np.float64),
        edit_rate_N=np.array([edit_rate(item.source, rewrite) for item, rewrite in pairs], dtype=np.float64),
        changed_N=np.array([rewrite != item.source for item, rewrite in pairs], dtype=np.float64),
    )


def summarise_row(scores: TextScores, *, chrf_other_references: float | None) -> RewriteRow:
    """Computes the means of a row and their intervals."""
    estimates = {name: _estimate_mean(values_N) for name, values_N in scores.by_figure().items()}
    return RewriteRow.model_validate(
        {name: found.value for name, found in estimates.items()}
        | {"intervals": {name: to_span(found) for name, found in estimates.items()}}
        | {"chrf_other_references": chrf_other_references}
    )


def compare_j(left: TextScores, right: TextScores) -> Estimate:
    """Computes the ratio of two rows' J, and its interval over resamples of the texts that both share."""
    left_N, right_N = left.j(), right.j()

    def divide(rows: Rows) -> float | None:
        below = float(right_N[rows].mean())
        return float(left_N[rows].mean()) / below if below > 0.0 else None

    return estimate_rows(divide, len(left_N), num_resamples=_NUM_RESAMPLES, seed=_SEED)


def chrf(rewrite: str, references: Sequence[str], *, cased: bool = False) -> float:
    """Returns sacrebleu's sentence ChrF against all references, in [0, 1].

    Without regard to case unless asked for: many references are in lower case whatever their source was in, so that a
    rewrite would lose for keeping capitals. In all else sacrebleu's defaults.
    """
    scorer = CHRF(lowercase=not cased)
    return float(scorer.sentence_score(rewrite, list(references)).score) / 100.0


def compare_references(items: Sequence[ToxicText]) -> float | None:
    """Returns the mean ChrF of first references against the others; None where no text has several."""
    found = [chrf(item.references[0], item.references[1:]) for item in items if len(item.references) > 1]
    return float(np.mean(found)) if found else None


def edit_rate(source: str, rewrite: str) -> float:
    """Returns how many words were put in, taken out or replaced, per word of the source; words end at white space."""
    before, after = source.split(), rewrite.split()
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    edits = sum(
        max(end - start, new_end - new_start)
        for kind, start, end, new_start, new_end in matcher.get_opcodes()
        if kind != "equal"
    )
    return edits / max(1, len(before))


def estimate_share(is_true: Sequence[bool]) -> Estimate:
    """Computes a share and its interval; None without rows."""
    return _estimate_mean(np.array(is_true, dtype=np.float64))


def to_span(found: Estimate) -> Span | None:
    """Returns an interval as the report has it."""
    return None if found.interval is None else (found.interval.low, found.interval.high)


def _estimate_mean(values_N: Scores) -> Estimate:
    return estimate_rows(
        lambda rows: float(values_N[rows].mean()), len(values_N), num_resamples=_NUM_RESAMPLES, seed=_SEED
    )
