"""The report as one HTML file that needs nothing from outside and holds no text of any record."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from protector_models.evaluation.detector.curves import draw_curves
from protector_models.evaluation.detector.harness import EvaluatedSet
from protector_models.evaluation.report import EvaluationReport, SetReport

_TEMPLATE = "report.html.j2"

_METRICS: Mapping[str, str] = {
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "tpr_at_1pct_fpr": "TPR at 1% FPR",
    "fpr": "FPR",
    "ece": "ECE",
    "within_prompt": "within prompt",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rung:
    """One guard of the ladder of published figures, ours among them."""

    model: str
    size: str | None
    f1: float
    source: str
    is_ours: bool


def render_html(report: EvaluationReport, evaluated: Mapping[str, EvaluatedSet]) -> str:
    """Writes the page.

    Args:
        report: what was measured.
        evaluated: the same sets with their scores, by name.
    """
    here = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader([here, here.parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": _format, "change": _format_change, "percent": _format_percent}
    drawings = {
        name: draw_curves(name, found.labels_N, found.scores_N, threshold=report.threshold)
        for name, found in evaluated.items()
    }
    return environment.get_template(_TEMPLATE).render(
        report=report,
        metrics=_METRICS,
        drawings=drawings,
        ladders={name: _build_ladder(report.detector, found) for name, found in report.sets.items()},
    )


def _build_ladder(detector: str, found: SetReport) -> list[_Rung]:
    """Puts our row among the published ones, best first; empty where the set has none."""
    rungs = [
        _Rung(model=guard.model, size=guard.size, f1=guard.f1, source=guard.source, is_ours=False)
        for guard in found.published
    ]
    if rungs and found.f1 is not None:
        source = f"measured here on {found.n} rows"
        rungs.append(_Rung(model=detector, size=None, f1=found.f1, source=source, is_ours=True))
    return sorted(rungs, key=lambda rung: -rung.f1)


def _format(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _format_change(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}"


def _format_percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
