"""ROC, calibration and score histograms of one set as an SVG that needs nothing from outside.

Shapes: N rows of one set.
"""

import io
import re

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from protector_models.evaluation.metrics import Labels, Scores, calibration_bins, roc_points

# Told apart by people who do not see red and green (Okabe and Ito's palette).
_SAFE, _HARMFUL, _GUIDE = "#0072b2", "#d55e00", "#999999"
_PANEL_INCHES = (3.5, 2.9)
_NUM_SCORE_BINS = 25


def draw_curves(name: str, labels_N: Labels, scores_N: Scores, *, threshold: float) -> str | None:
    """Draws what the data has: the histogram always, ROC and calibration where both classes are there.

    Args:
        name: of the set; ids inside the drawing are derived from it, so that several fit on one page.
        labels_N: whether each row is harmful.
        scores_N: harmfulness in [0, 1].
        threshold: is marked.

    Returns:
        An `<svg>` element; None without rows.
    """
    if len(labels_N) == 0:
        return None
    panels = [_draw_histogram]
    if labels_N.any() and not labels_N.all():
        panels = [_draw_roc, _draw_calibration, _draw_histogram]
    # Letters stay text: smaller than outlines, and a reader can select them.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 9, "axes.titlesize": 9}):
        figure = Figure(figsize=(_PANEL_INCHES[0] * len(panels), _PANEL_INCHES[1]), layout="constrained")
        for column, draw in enumerate(panels, start=1):
            axes = figure.add_subplot(1, len(panels), column)
            axes.spines[["top", "right"]].set_visible(False)
            axes.set_xlim(-0.02, 1.02)
            draw(axes, labels_N, scores_N, threshold)
        page = io.StringIO()
        figure.savefig(page, format="svg")
    return _strip(page.getvalue())


def _draw_roc(axes: Axes, labels_N: Labels, scores_N: Scores, threshold: float) -> None:
    fpr_K, tpr_K = roc_points(labels_N, scores_N)
    axes.plot([0, 1], [0, 1], color=_GUIDE, linewidth=0.8, linestyle=":")
    axes.axvline(0.01, color=_GUIDE, linewidth=0.8, linestyle="--", label="1% of safe rows")
    axes.plot(fpr_K, tpr_K, color=_HARMFUL, linewidth=1.4, drawstyle="steps-post")
    fpr, tpr = ((scores_N[of_class_N] >= threshold).mean() for of_class_N in (~labels_N, labels_N))
    axes.plot([fpr], [tpr], "o", color="black", markersize=4, label="at the threshold")
    axes.set(title="ROC", xlabel="safe rows flagged", ylabel="harmful rows flagged", ylim=(-0.02, 1.02))
    axes.legend(loc="lower right", frameon=False, fontsize=8)


def _draw_calibration(axes: Axes, labels_N: Labels, scores_N: Scores, threshold: float) -> None:
    bins = calibration_bins(labels_N, scores_N)
    largest = max(found.num_rows for found in bins)
    axes.plot([0, 1], [0, 1], color=_GUIDE, linewidth=0.8, linestyle=":")
    axes.axvline(threshold, color="black", linewidth=0.8, linestyle="--")
    mean_scores, harmful_shares = [found.mean_score for found in bins], [found.harmful_share for found in bins]
    axes.plot(mean_scores, harmful_shares, color=_HARMFUL, linewidth=0.8)
    axes.scatter(
        mean_scores, harmful_shares, s=[8 + 80 * found.num_rows / largest for found in bins], color=_HARMFUL, alpha=0.8
    )
    axes.set(title="Calibration (area: rows)", xlabel="mean score", ylabel="share harmful", ylim=(-0.02, 1.02))


def _draw_histogram(axes: Axes, labels_N: Labels, scores_N: Scores, threshold: float) -> None:
    edges = np.linspace(0.0, 1.0, _NUM_SCORE_BINS + 1)
    for label, color, wanted in (("safe", _SAFE, False), ("harmful", _HARMFUL, True)):
        of_class_M = scores_N[labels_N == wanted]
        if of_class_M.size:
            shares_M = np.full(of_class_M.size, 1 / of_class_M.size)
            legend = f"{label}, {of_class_M.size}"
            axes.hist(of_class_M, edges.tolist(), weights=shares_M, color=color, alpha=0.55, label=legend)
    axes.axvline(threshold, color="black", linewidth=0.8, linestyle="--", label="threshold")
    axes.set(title="Scores", xlabel="harmfulness", ylabel="share of the class")
    axes.legend(frameon=False, fontsize=8)


def _strip(svg: str) -> str:
    """Keeps the element alone: no prolog, no metadata, no ids but those that the drawing refers to."""
    element = svg[svg.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    return re.sub(r'<g id="[^"]*"', "<g", element)
