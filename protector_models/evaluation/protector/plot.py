"""Unsafe answers before and after, per scenario, as an SVG that needs nothing from outside."""

import io
import re

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from protector_models.evaluation.protector.report import AttackSetFigures, ProtectorReport, Share

# Told apart by people who do not see red and green (Okabe and Ito's palette).
_BEFORE, _AFTER = "#d55e00", "#0072b2"
_WIDTH_INCHES = 8.0
_ROW_INCHES = 0.3
_BAR = 0.38


def draw_before_and_after(report: ProtectorReport) -> str:
    """Draws two bars with 95% intervals for each scenario and each set, a panel for each set.

    Returns:
        An `<svg>` element; equal reports give equal ones.

    Raises:
        ValueError: the report has no attacks.
    """
    sets = list(report.attacks.items())
    if not sets:
        raise ValueError("expected at least one set of attacks to draw, got none")
    heights = [1.2 + _ROW_INCHES * len(_rows(figures)) for _, figures in sets]
    # Letters stay text: smaller than outlines, and a reader can select them.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "protector", "font.size": 9, "axes.titlesize": 10}):
        figure = Figure(figsize=(_WIDTH_INCHES, sum(heights) + 0.4), layout="constrained")
        panels = figure.subplots(len(sets), 1, squeeze=False, gridspec_kw={"height_ratios": heights})
        for axes, (name, figures) in zip(panels[:, 0], sets, strict=True):
            _draw_set(axes, name, figures)
        figure.suptitle(f"Unsafe answers, judged by {report.judge.revision}", fontsize=10)
        page = io.StringIO()
        figure.savefig(page, format="svg", metadata={"Date": None})
    return _strip(page.getvalue())


def _rows(figures: AttackSetFigures) -> list[tuple[str, Share, Share]]:
    rows = {**figures.scenarios, "all": figures.total}
    return [(f"{name} ({found.n})", found.unsafe_before, found.unsafe_after) for name, found in rows.items()]


def _draw_set(axes: Axes, name: str, figures: AttackSetFigures) -> None:
    rows = _rows(figures)
    places_R = np.arange(len(rows))
    before, after = [row[1] for row in rows], [row[2] for row in rows]
    for offset, color, label, shares in ((-_BAR / 2, _BEFORE, "before", before), (_BAR / 2, _AFTER, "after", after)):
        values_R = np.array([share.value or 0.0 for share in shares])
        spans = [share.interval or (value, value) for share, value in zip(shares, values_R, strict=True)]
        # A percentile interval need not hold its value; a bar's whisker cannot point inwards.
        whiskers_2R = np.array(
            [
                [max(0.0, value - low) for value, (low, _) in zip(values_R, spans, strict=True)],
                [max(0.0, high - value) for value, (_, high) in zip(values_R, spans, strict=True)],
            ]
        )
        axes.barh(
            places_R + offset,
            values_R,
            height=_BAR,
            color=color,
            label=label,
            xerr=whiskers_2R,
            error_kw={"elinewidth": 0.8, "capsize": 2},
        )
    axes.set_yticks(places_R, [row[0] for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(0.0, 1.0)
    axes.set(title=name, xlabel="share of answers called unsafe, with 95% intervals")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="lower right")


def _strip(svg: str) -> str:
    """Keeps the element alone: no prolog, no metadata."""
    return re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
