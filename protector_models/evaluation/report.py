"""The report of an evaluation: it is printed, written as JSON, and drawn as HTML."""

from pydantic import BaseModel, ConfigDict

Span = tuple[float, float]
"""A 95% bootstrap interval: low, high."""


class Figures(BaseModel):
    """Figures under their names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class BaselineReport(Figures):
    """Figures of one row to beat."""

    f1: float | None
    auroc: float | None
    fpr: float | None


class PublishedGuard(Figures):
    """F1 of another guard on the same set as its authors, or the authors of a comparison, published it."""

    model: str
    size: str | None
    """Parameters; None where unknown."""
    f1: float
    """In [0, 1]."""
    source: str


class WorstError(Figures):
    """A row on the wrong side of the threshold."""

    id: str
    """The record's id, or file and line where it has none. Never its text."""
    label: int
    score: float


class PerturbationReport(Figures):
    """What one perturbation of the judged text does; changes are perturbed minus plain, on the same rows."""

    auroc: float | None
    f1: float | None
    fpr: float | None
    delta_auroc: float | None
    """Below 0: a loss."""
    delta_f1: float | None
    """Below 0: a loss."""
    delta_fpr: float | None
    """Above 0: more safe rows flagged."""
    partly_read: int
    """Rows of which the detector says that it did not read all: they are no silent misses."""
    failed: int
    """Rows that had a score before and have none now; in none of the figures."""


class CategoryFigures(Figures):
    """How well one score ranks the rows of one labelled category above all others."""

    n: int
    """Rows with this label."""
    auroc: float | None
    read_as: str | None
    """The detector's category that is read for it; None where it has none."""


class CategoryReport(Figures):
    """The detector's category scores on a set that labels categories."""

    macro_auroc: float | None
    """Mean over the labels that have an AUROC."""
    macro_interval: Span | None
    per: dict[str, CategoryFigures]
    """By OpenAI's label, or ours where OpenAI has none."""
    baselines: dict[str, float | None]
    """Macro AUROC of the learned rows, over the same labels."""


class SetReport(Figures):
    """Figures of one set; a metric that does not exist for its data is None."""

    n: int
    """Rows that were scored."""
    harmful: int
    """Of them harmful."""
    harmful_share: float | None
    labelled: int
    """Labelled rows of the set, before a sample was drawn."""
    unlabelled: int
    """Rows without a label; not scored."""
    failed: int
    """Labelled rows for which there is no score; in no metric."""
    partly_read: int
    """Scored rows of which the detector says that it did not read all."""
    f1: float | None
    precision: float | None
    recall: float | None
    auroc: float | None
    auprc: float | None
    tpr_at_1pct_fpr: float | None
    fpr: float | None
    ece: float | None
    within_prompt: float | None
    """Share of harmful/safe pairs of one prompt ranked rightly; its interval is over prompts."""
    intervals: dict[str, Span | None]
    """95% bootstrap interval of each metric."""
    baselines: dict[str, BaselineReport]
    published: list[PublishedGuard]
    """Other guards, where the set is one that others report on; not run here."""
    categories: CategoryReport | None
    """None where the set does not label categories."""
    worst: list[WorstError]
    """As many as were asked for, worst first."""
    perturbations: dict[str, PerturbationReport]
    """By name; empty where they were not asked for."""


class EvaluationReport(Figures):
    """Figures of one detector at one threshold."""

    detector: str
    threshold: float
    max_rows: int | None
    """Labelled rows drawn from each set at most, with a fixed seed; None: all were scored."""
    sets: dict[str, SetReport]
